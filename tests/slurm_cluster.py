"""A real Slurm cluster of one node, in a folder of its own."""
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SYSTEM = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])
DAEMONS = ('munged', 'slurmctld', 'slurmd')
NODE = socket.gethostname().split('.')[0]

# A job in "high" has a running job of "low" queued again at once, one of "grace" is
# told so some seconds before. A job that was queued again waits for cred_expire.
CONFIG = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=2
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
    try:
        daemon('munged', '--force', '--num-threads=2', *[
            f'--{option}={folder}/munge.{option.split("-")[0]}'
            for option in ('key-file', 'socket', 'pid-file', 'log-file', 'seed-file')])
        daemon('slurmctld', '-f', config)
        daemon('slurmd', '-f', config, '-N', NODE)
        wait_until(lambda: answer('sinfo', '-h', '-p', 'low', '-o', '%T') == 'idle',
                   folder)
        yield
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(['scancel', '--user', getpass.getuser()], timeout=10,
                           capture_output=True)
            time.sleep(1)
        for name in ('slurmd', 'slurmctld', 'munge'):
            stop(folder / f'{name}.pid')
        if before is None:
            del os.environ['SLURM_CONF']
        else:
            os.environ['SLURM_CONF'] = before


def daemon(name: str, *options) -> None:
    subprocess.run([shutil.which(name, path=SYSTEM), *map(str, options)], check=True,
                   timeout=30)


def answer(*command: str) -> str:
    """What a Slurm command prints; nothing if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ''


def wait_until(true, folder: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            logs = ''.join(file.read_text() for file in folder.glob('slurm*.log'))
            raise TimeoutError(f'the cluster did not come up:\n{logs}')
        time.sleep(0.2)


def stop(pid_file: Path) -> None:
    """End a daemon and wait until it is gone."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            time.sleep(0.1)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        pass


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [entry.getsockname()[1] for entry in sockets]
    for entry in sockets:
        entry.close()
    return ports
