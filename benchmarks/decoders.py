"""Which decoder gives the frames that were asked for: the table of docs/decoding.md.

python benchmarks/decoders.py [FILE …]: of video files, or else of the zoo of the tests.
A frame is right if it is the picture of that number that plain decoding by PyAV shows,
but for rounding. torchcodec is tried where it can be imported.
"""
import argparse
import contextlib
import importlib
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests'))
# By their path: importing vita_mm takes seconds.
readers = SimpleNamespace(
    **runpy.run_path(str(ROOT / 'vita_mm' / 'data' / 'readers.py')))

SINGLES = 60  # frames asked for one by one, at most
ROUNDING = 3.  # mean of absolute differences; another frame differs by more


class TorchCodecReader:
    def __init__(self, path: str) -> None:
        decoders = importlib.import_module('torchcodec.decoders')
        self.decoder = decoders.VideoDecoder(
            path, dimension_order='NHWC', num_ffmpeg_threads=1)

    def __len__(self) -> int:
        return len(self.decoder)

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        return list(self.decoder.get_frames_at(numbers).data.numpy())


def decoders() -> dict[str, Callable]:
    found = dict(ours=readers.PyAVReader)
    for name, package, reader in (
            ('decord', 'decord', readers.DecordReader),
            ('torchcodec', 'torchcodec.decoders', TorchCodecReader)):
        with contextlib.suppress(ImportError, OSError, RuntimeError):
            importlib.import_module(package)
            found[name] = reader
    return found


def plain(path: Path) -> list[np.ndarray]:
    """All pictures from the start."""
    pictures, size = [], None
    for frame in readers.Video(str(path), strict=False).decode():
        size = size or (frame.width, frame.height)
        picture = frame.reformat(*size, 'rgb24', threads=1).to_ndarray()
        turn = readers.turn_of(frame)
        pictures.append(turn.of(picture) if turn else picture)
    return pictures


def measure(reader: Callable, path: Path, expected: list[np.ndarray]) -> str:
    """What the decoder says of the length, right ones of the single frames, CPU time of
    eight frames over the whole video, the opening included."""
    try:
        count = len(reader(str(path)))
    except Exception as error:  # decoders raise many kinds
        return f'refused ({type(error).__name__})'
    numbers = np.unique(np.linspace(0, len(expected) - 1, SINGLES).astype(int)).tolist()
    right = sum(is_right(reader, path, number, expected[number]) for number in numbers)
    start = time.process_time()
    with contextlib.suppress(Exception):
        reader(str(path)).frames(
            np.unique(np.linspace(0, len(expected) - 1, 8).astype(int)).tolist())
    took = 1000 * (time.process_time() - start)
    return f'{count}; {right}/{len(numbers)}; {took:.0f} ms'


def is_right(reader: Callable, path: Path, number: int, expected: np.ndarray) -> bool:
    try:
        frame, = reader(str(path)).frames([number])
    except Exception:
        return False
    return frame.shape == expected.shape and np.abs(
        frame.astype(int) - expected).mean() < ROUNDING


def table(paths: list[Path]) -> None:
    found = decoders()
    print('| file | pictures |', *(f' {name} |' for name in found))
    print('|---|---|' + '---|' * len(found))
    for path in paths:
        expected = plain(path)
        print(f'| {path.name} | {len(expected)} |',
              *(f' {measure(reader, path, expected)} |' for reader in found.values()),
              flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('files', nargs='*', type=Path, metavar='FILE')
    files = parser.parse_args().files
    if files:
        table(files)
        return
    import zoo
    with tempfile.TemporaryDirectory() as folder:
        table([zoo.make(name, Path(folder)) for name in zoo.ZOO])


if __name__ == '__main__':
    main()
