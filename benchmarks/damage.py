"""How much damage is found: bits of small mp4 and AVI files are flipped.

python benchmarks/damage.py [--files 300]: counts, for strict and lenient reading, the
damaged files that are read with other pixels, or refused although no pixel changed.
"""
import argparse
import runpy
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))

import zoo  # noqa: E402

# By its path: importing vita_mm takes seconds.
PyAVReader = runpy.run_path(str(ROOT / 'vita_mm' / 'data' / 'readers.py'))['PyAVReader']

KINDS = {'H.264 in mp4': ('a.mp4', dict(codec='libx264')),
         'MPEG-4 in AVI': ('a.avi', dict(codec='mpeg4', bf=2, g=12))}


def flip(content: bytes, start: int, end: int, generator: np.random.Generator) -> bytes:
    """One to four bits between two places."""
    flipped = bytearray(content)
    for place in generator.integers(start, end, generator.integers(1, 5)):
        flipped[place] ^= 1 << generator.integers(8)
    return bytes(flipped)


def read(path: Path, strict: bool) -> list[np.ndarray] | None:
    """All frames, and a check of all; None if they are refused."""
    try:
        reader = PyAVReader(str(path), strict=strict)
        reader.check()
        return reader.frames(list(range(len(reader))))
    except Exception:  # decoders raise many kinds
        return None


def same(frames: list[np.ndarray], whole: list[np.ndarray]) -> bool:
    return len(frames) == len(whole) and all(map(np.array_equal, frames, whole))


def count(folder: Path, name: str, options: dict, files: int) -> dict[str, Counter]:
    path = folder / name
    zoo.film(path, **options)
    content, whole = path.read_bytes(), read(path, strict=True)
    assert whole is not None
    start = content.index(b'mdat' if name.endswith('mp4') else b'movi')
    end = content.find(b'moov', start) if name.endswith('mp4') else content.index(b'idx1')
    found = dict(strict=Counter(), lenient=Counter())
    for seed in range(files):
        path.write_bytes(flip(content, start + 8, end - 4, np.random.default_rng(seed)))
        lenient = read(path, strict=False)
        unchanged = lenient is not None and same(lenient, whole)
        for mode, frames in ('lenient', lenient), ('strict', read(path, strict=True)):
            found[mode][('unchanged' if unchanged else 'changed',
                         'refused' if frames is None else 'read')] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--files', type=int, default=300, help='damaged files of a kind')
    files = parser.parse_args().files
    print('| damaged files | reading | changed pictures: read | refused '
          '| unchanged pictures: read | refused |')
    print('|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        for kind, (name, options) in KINDS.items():
            for mode, counts in count(Path(folder), name, options, files).items():
                print(f'| {files} of {kind} | {mode} |', ' | '.join(
                    str(counts[pixels, fate]) for pixels in ('changed', 'unchanged')
                    for fate in ('read', 'refused')), '|', flush=True)


if __name__ == '__main__':
    main()
