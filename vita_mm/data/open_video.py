"""Opens videos for check.py, which runs this file by its path as a process of its own.

A decoder may hang or crash, so that it has to be in a process that may be killed. There
are many of them, therefore no more is imported than is needed: not even ``vita_mm``.

It says on stdout, in a line of JSON each, first ``{}``: it is ready; then, for each
request ``{"path": ..., "full": ...}`` on stdin, ``{"frames": ...}``, or ``{"fault":
"broken", "reason": ...}``. More keys of a request are options of the reader, such as
``"strict"``.
"""
import json
import os
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
PyAVReader = runpy.run_path(str(PACKAGE / 'data/readers.py'))['PyAVReader']
die_with_parent = runpy.run_path(str(PACKAGE / 'io/processes.py'))['die_with_parent']

REASON_LENGTH = 200


def main() -> None:
    die_with_parent()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    print('{}', file=answers, flush=True)
    silence()
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


def silence() -> None:
    """Drop what decoders print: the reason of a fault is in the answer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def answer(path: str, full: bool, **options) -> dict:
    try:
        return dict(frames=count_frames(path, full, **options))
    except Exception as error:  # decoders raise many kinds
        return dict(fault='broken', reason=describe(error))


def count_frames(path: str, full: bool, **options) -> int:
    """The number of frames; decodes the first, middle and last one, or all of them.

    Damage elsewhere can only be found in all of them.
    """
    reader = PyAVReader(path, **options)
    count = len(reader)
    if full:
        reader.check()
    else:
        reader.frames(sorted({0, count // 2, count - 1}))
    return count


def describe(error: Exception) -> str:
    """The error in one line."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}'[:REASON_LENGTH]


if __name__ == '__main__':
    main()
