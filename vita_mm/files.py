"""Files that are whole or not there, and locks that end with their process."""
import fcntl
import json
import os
import sys
from pathlib import Path

from .errors import UserError


def write_json(path: Path, content) -> None:
    """Write so that the file is there whole or not at all, a loss of power included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.part')
    with open(partial, 'w', encoding='utf-8') as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_json(path: Path) -> dict | None:
    """The content; None if there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def hold(path: Path, what: str, wait: bool = False):
    """Hold a lock for as long as the returned file is open, or the process lives.

    Args:
        wait: until another process that holds it lets go, and say so.

    Raises:
        UserError: if another process holds it and ``wait`` is not set.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a+')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        held = f'{what} (process {file.read().strip() or "unknown"})'
        if not wait:
            file.close()
            raise UserError(f'{held}: wait for it or stop it') from None
        print(f'{held}: waiting for it', file=sys.stderr, flush=True)
        fcntl.lockf(file, fcntl.LOCK_EX)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
