"""Files that are whole or not there, locks that end with their process, lists, places."""
import codecs
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vita_mm.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
# The folder of configs, suites and data, which their relative paths are written for: the
# repository, or what of it is in an installed package.
ROOT = PACKAGE / 'project' if (PACKAGE / 'project').is_dir() else PACKAGE.parent
OTHER_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE,
               codecs.BOM_UTF16_BE)
FORMULA_STARTS = ('=', '+', '-', '@', '\t', '\r')


def write_json(path: Path, content) -> None:
    """Write as :func:`write_bytes` does."""
    write_bytes(path, json.dumps(content, indent=1).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write so that the file is there whole or not at all, a loss of power included."""
    with replacing(path) as partial, open(partial, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in place of another, which it becomes at the end of the block.

    If the block fails nothing stays of it, and an ``OSError`` names the file.
    """
    partial = path.with_name(f'{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # it might be a link to some other file
        yield partial
        os.replace(partial, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # write() knows a number only
        raise


def read_json(path: Path) -> dict | None:
    """The content; None if there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def read_lines(path: str | Path, what: str = 'the list') -> list[str]:
    """The lines of a list, as they are written; a line ends at a line feed alone.

    Other characters that end lines for ``str.splitlines``, such as U+2028, may be part
    of a name. A byte order mark and the carriage returns of Windows are left out.

    Args:
        what: the file is, for messages.

    Raises:
        UserError: if it cannot be read, or is no text in UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'cannot read {what} {path}: {error.strerror}') from error
    if content.startswith(OTHER_MARKS) or b'\0' in content:
        raise UserError(f'{path} is not text in UTF-8 but perhaps in UTF-16: save it as '
                        'UTF-8')
    lines = content.removeprefix(codecs.BOM_UTF8).split(b'\n')
    if not lines[-1]:
        lines.pop()
    return [read_line(line.removesuffix(b'\r'), f'{path}, line {number}')
            for number, line in enumerate(lines, 1)]


def read_line(line: bytes, place: str) -> str:
    if b'\r' in line:
        raise UserError(f'{place}: there is a carriage return within the line: end lines '
                        'by a line feed')
    try:
        return line.decode('utf-8')
    except UnicodeDecodeError as error:
        raise UserError(f'{place}: {line[:80]!r} is not text in UTF-8: save the file as '
                        'UTF-8') from error


def fits_a_line(name: str) -> bool:
    """Whether a name is the same when it is read back from a list."""
    encodes = name.encode('utf-8', 'replace').decode() == name
    return bool(name) and encodes and name == name.strip(' \t') \
        and not set(name) & set('\n\r\0') and not name.startswith('\ufeff')


def locate(path: str) -> str:
    """Where a file that a config or a checkpoint names is.

    A relative path is looked up in the current folder, then in the project's
    (:data:`ROOT`): ``configs/...`` and ``data/...`` are found whatever folder a tool is
    started from. What is found nowhere stays as it is, to be made in the current folder.
    """
    if not path or os.path.exists(path) or not os.path.exists(ROOT / path):
        return path
    return str(ROOT / path)


def lasting(path: str) -> str:
    """A name of a file that :func:`locate` finds from any folder.

    What lies in the project stays relative to it, and so moves with it; any other path
    becomes absolute. What is no file, such as a tag of open_clip, stays as it is.
    """
    found = locate(path)
    if not os.path.isfile(found):
        return path
    whole = os.path.abspath(found)
    return os.path.relpath(whole, ROOT) if Path(whole).is_relative_to(ROOT) else whole


def safe_cell(value):
    """A value for a table of CSV; a text that a spreadsheet would take for a formula is
    led by an apostrophe. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = value.replace('\r', ' ')  # is written without quotes, and read as a line end
    if not value.startswith(FORMULA_STARTS):
        return text
    try:
        float(value)
    except ValueError:
        return f"'{text}"
    return text


def lock(path: Path, what: str, wait: bool = False):
    """Take a lock, for as long as the returned file is open, or the process lives.

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
