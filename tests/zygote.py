"""Processes that need not import what takes seconds.

A server imports it once and forks for each process that is started: its child has the
arguments, folder, environment, output and signals of a process of its own, and ends as
one.
"""
import atexit
import contextlib
import ctypes
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path


class Process:
    """A started script; what tests use of :class:`subprocess.Popen`."""

    def __init__(self, connection: socket.socket, output: int) -> None:
        self.connection = connection
        self.stdout = open(output, encoding='utf-8')
        self.pid = int(connection.recv(32))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = int(self.connection.recv(32))
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(1e-3)
        return self.returncode

    def communicate(self, timeout: float = 240) -> tuple[str, None]:
        """All that it says until its end."""
        said = b''
        while True:
            ready, _, _ = select.select([self.stdout], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(str(self.pid), timeout, said)
            more = os.read(self.stdout.fileno(), 1 << 16)
            if not more:
                break
            said += more
        self.wait(timeout)
        return said.decode(errors='replace'), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Zygote:
    """The server's side that starts processes."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix='vita_mm-')) / 'zygote'
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(self.path)], stdout=subprocess.PIPE,
            env=dict(os.environ, OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1'))
        assert self.server.stdout is not None and self.server.stdout.readline()

    def start(self, script: Path, arguments: list[str], cwd: Path, env: dict[str, str],
              interrupt) -> Process:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(self.path))
        reader, writer = os.pipe()
        request = json.dumps(dict(
            argv=[str(script), *arguments], cwd=str(cwd), env=env,
            ignored=interrupt == signal.SIG_IGN)).encode()
        socket.send_fds(connection, [request], [writer])
        os.close(writer)
        return Process(connection, reader)

    def close(self) -> None:
        self.server.kill()
        self.server.wait()
        self.path.unlink(missing_ok=True)
        self.path.parent.rmdir()


def serve(path: str) -> None:
    """Fork for each connection, and tell it the process's id and how it ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(16)
        print('ready', flush=True)
        going: dict[int, socket.socket] = {}
        while True:
            if select.select([listener], [], [], 0.02)[0]:
                connection, _ = listener.accept()
                data, (output, ), _, _ = socket.recv_fds(connection, 1 << 20, 1)
                pid = os.fork()
                if not pid:
                    listener.close()
                    connection.close()
                    for other in going.values():
                        other.close()
                    become(output=output, **json.loads(data))
                    return
                os.close(output)
                going[pid] = connection
                tell(connection, pid)
            for pid in list(going):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    tell(going.pop(pid), os.waitstatus_to_exitcode(status))


def tell(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        connection.send(str(number).encode())


def become(argv: list[str], cwd: str, env: dict, ignored: bool, output: int) -> None:
    """Run a script in this process as if it had been started so."""
    os.setsid()
    signal.signal(signal.SIGINT,
                  signal.SIG_IGN if ignored else signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = open(1, 'w', buffering=1, encoding='utf-8', closefd=False)
    sys.stderr = open(2, 'w', buffering=1, encoding='utf-8', closefd=False)
    random.seed()
    sys.argv = argv
    sys.path[0] = str(Path(argv[0]).parent)
    status = 1
    try:
        runpy.run_path(argv[0], run_name='__main__')
        status = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
    finally:
        # As an interpreter ends, but for freeing what it has imported, which takes
        # seconds: all of it would be copied for that.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == '__main__':
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the tests
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    import torch.distributed.run  # noqa: F401
    import vita_mm  # noqa: F401
    serve(sys.argv[1])
