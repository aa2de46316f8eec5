"""A real Slurm cluster of one node, in a folder of its own."""
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from vita_mm.io.processes import die_with_parent

SYSTEM = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])
DAEMONS = ('munged', 'slurmctld', 'slurmd')
NODE = socket.gethostname().split('.')[0]

# A job in "high" has a running job of "low" queued again at once, one of "grace" is
# told so some seconds before. What was queued again waits for cred_expire, at least 5.
CONFIG = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=30
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName={node} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes={node} Default=YES PriorityTier=1 State=UP
PartitionName=grace Nodes={node} PriorityTier=1 GraceTime=60 State=UP
PartitionName=high Nodes={node} PriorityTier=9 PreemptMode=OFF State=UP
"""


def missing() -> list[str]:
    """The daemons that this machine lacks."""
    return [name for name in DAEMONS if shutil.which(name, path=SYSTEM) is None]


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Start a cluster; inside, sbatch and its like talk to it.

    Args:
        folder: for its files; the path must be short, for there is a socket in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ('spool', 'state'):
        (folder / name).mkdir()
    config = folder / 'slurm.conf'
    config.write_text(CONFIG.format(
        folder=folder, node=NODE, user=getpass.getuser(), ports=free_ports(2)))
    (folder / 'munge.key').write_bytes(os.urandom(128))
    (folder / 'munge.key').chmod(0o400)
    before = os.environ.get('SLURM_CONF')
    os.environ['SLURM_CONF'] = str(config)
    daemons = []
    try:
        daemons.append(daemon('munged', '--foreground', '--force', *[
            f'--{option}={folder}/munge.{option.split("-")[0]}'
            for option in ('key-file', 'socket', 'pid-file', 'log-file', 'seed-file')]))
        wait_until((folder / 'munge.socket').exists, folder)
        daemons.append(daemon('slurmctld', '-D', '-f', config))
        daemons.append(daemon('slurmd', '-D', '-f', config, '-N', NODE))
        wait_until(lambda: answer('sinfo', '-h', '-p', 'low', '-o', '%T') == 'idle',
                   folder)
        yield
    finally:
        cancel_all()
        for process in reversed(daemons):
            stop(process)
        if before is None:
            del os.environ['SLURM_CONF']
        else:
            os.environ['SLURM_CONF'] = before


def daemon(name: str, *options) -> subprocess.Popen:
    """Start a daemon that dies with this process, whatever kills that."""
    return subprocess.Popen(
        [shutil.which(name, path=SYSTEM), *map(str, options)],
        preexec_fn=die_with_parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answer(*command: str) -> str:
    """What a Slurm command prints; nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ''


def cancel_all() -> None:
    answer('scancel', '--user', getpass.getuser())


def wait_until(true, folder: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            logs = ''.join(file.read_text() for file in folder.glob('slurm*.log'))
            raise TimeoutError(f'the cluster did not come up:\n{logs}')
        time.sleep(0.2)


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports
