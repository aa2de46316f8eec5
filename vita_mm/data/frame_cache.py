"""Decoded frames of small videos, kept on disk and mapped into memory.

A video has a file of its own, ``frames/RULES/DIGEST`` under ``VITA_MM_CACHE`` (by default
``~/.cache/vita_mm``). DIGEST is of what the video's file holds, RULES of what else its
frames depend on: readers.py, the libraries and the reader's options. A file holds, in
this order: :data:`HEAD`; a checksum of each frame and one of all before it, in uint32;
the frames, (T, H, W, 3) in uint8. Every frame is held against its checksum when it is
read.
"""
import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import os
import platform
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from vita_mm.errors import describe_os_error
from vita_mm.io.digests import (
    cache_folder,
    digest_file,
    read_version,
    status_of,
    version_of,
)
from vita_mm.io.files import replacing

from . import readers
from .readers import PyAVReader, Reader

MAX_CACHED = 16 * 2**30  # bytes
RESERVE = 2**30  # bytes that a cache leaves free on the disk, for checkpoints and logs
COUNTED = 100  # files written until all are counted again

MAGIC = b'vita_mm1'
HEAD = struct.Struct('<8s32sdIII')  # MAGIC, DIGEST, frames a second, T, H, W


class Damaged(Exception):
    """A file of the cache is not what was written."""


class FrameCache:
    """Videos by :class:`PyAVReader`, each decoded once for as long as it stays as it is.

    The first reading of a video decodes all its frames and keeps them; later ones, of any
    process, give those very frames without decoding. What cannot be kept is read as if
    there were no cache: a video that is damaged, of frames of different shapes, or of
    frames of more than ``max_held`` bytes; and all videos once ``max_cached`` is reached
    or the disk refuses, which is said once.

    Args:
        options: of the reader.
        max_cached: bytes of all files of the cache, which are counted now and then: the
            last hundred of each process may exceed it.
    """

    def __init__(self, options: dict, max_cached: int = MAX_CACHED) -> None:
        self.options = options
        self.max_cached = max_cached
        self.root = cache_folder() / 'frames'
        self.folder = self.root / digest_of_rules(options)
        self.known: dict[str, tuple[str, str]] = {}  # path: version and digest
        self.passed: set[str] = set()  # digests of videos that cannot be kept
        self.full = False
        self.size = self.written = 0

    def reader(self, path: str, num_threads: int = 1) -> Reader:
        """A reader of a video; raises what :class:`PyAVReader` does."""
        digest = self.digest(path)
        if digest is None:
            return self.decoder(path, num_threads)

        def decode() -> Reader:
            return self.decode_and_keep(path, digest, num_threads)

        try:
            return CachedReader(self.folder / digest, decode)
        except (Damaged, OSError):  # or not there
            return decode()

    def decoder(self, path: str, num_threads: int) -> PyAVReader:
        return PyAVReader(path, num_threads, **self.options)

    def digest(self, path: str) -> str | None:
        """SHA-256 of a file, read once a process; None if it cannot be read."""
        status = status_of(path)
        if status is None:
            return None
        version = version_of(status)
        if self.known.get(path, ('', ''))[0] == version:
            return self.known[path][1]
        digest, settled = read_version(path)
        if digest is not None and settled is not None:
            self.known[path] = settled, digest
        return digest

    def decode_and_keep(self, path: str, digest: str, num_threads: int) -> Reader:
        """A reader of a video whose frames were not found."""
        reader = self.decoder(path, num_threads)
        if self.full or digest in self.passed:
            return reader
        size = 3 * len(reader) * reader.stream.width * reader.stream.height
        if size > reader.max_held:
            self.passed.add(digest)
            return reader
        try:
            frames = reader.frames(list(range(len(reader))))
        except Exception:  # decoders raise many kinds; a part of it may be in order
            self.passed.add(digest)
            reader.close()
            return self.decoder(path, num_threads)
        held = HeldReader(frames, reader.frame_rate)
        reader.close()
        if read_version(path)[0] == digest:  # it did not change while it was decoded
            try:
                self.keep(digest, held)
            except OSError as error:
                self.stop(describe_os_error(error))
        return held

    def keep(self, digest: str, held: 'HeldReader') -> None:
        """Write the frames of a video, whole or not at all."""
        file, content = self.folder / digest, packed(digest, held)
        with self.locked():
            if self.written % COUNTED == 0:
                self.size = size_of(self.root)
            size = sum(memoryview(part).nbytes for part in content)
            if self.size + size > self.max_cached:
                self.stop(f'{self.root} has reached max_cached={self.max_cached} bytes: '
                          'delete it, or set a higher max_cached of OpenVideo')
            elif shutil.disk_usage(self.folder).free < size + RESERVE:
                self.stop(f'less than {RESERVE >> 20} MiB would be free on the disk of '
                          f'{self.root}: make room')
            else:
                with replacing(file) as partial, open(partial, 'wb') as out:
                    for part in content:
                        out.write(part)
                self.size += size
                self.written += 1

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process writes at a time, for as long as a video takes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.root / 'lock', 'a') as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            yield

    def stop(self, reason: str) -> None:
        """Keep no more frames."""
        self.full = True
        say(f'no more frames are cached, videos are decoded instead: {reason}')


class HeldReader(Reader):
    """The frames of a video in memory."""

    def __init__(self, frames: list[np.ndarray], frame_rate: float) -> None:
        self.held = frames
        self.rate = frame_rate

    @property
    def frame_rate(self) -> float:
        return self.rate

    def __len__(self) -> int:
        return len(self.held)

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        return [self.held[number] for number in numbers]

    def close(self) -> None:
        self.held = []


class CachedReader(Reader):
    """The frames of a video out of its file in the cache.

    Args:
        file: of the cache; its name is the digest of the video.
        decode: gives another reader of the video, if the file turns out to be damaged.

    Raises:
        Damaged, OSError: if there is no such file, or it is not whole.
    """

    def __init__(self, file: Path, decode: Callable[[], Reader]) -> None:
        self.decode = decode
        with open(file, 'rb') as opened:
            head = opened.read(HEAD.size)
            if len(head) < HEAD.size:
                raise Damaged
            magic, digest, self.rate, count, height, width = HEAD.unpack(head)
            start, size = HEAD.size + 4 * (count + 1), 3 * count * height * width
            # Before anything is read, for damage may say that there is a lot.
            if (magic != MAGIC or digest.hex() != file.name or not size
                    or os.fstat(opened.fileno()).st_size != start + size):
                raise Damaged
            sums = opened.read(4 * count)
            if opened.read(4) != checksum(head + sums):
                raise Damaged
            self.sums = np.frombuffer(sums, '<u4').tolist()
            self.held = np.memmap(opened, np.uint8, 'r', start,
                                  (count, height, width, 3))

    @property
    def frame_rate(self) -> float:
        return self.rate

    def __len__(self) -> int:
        return len(self.sums)

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        """Copies, as from a decoder: the file may be deleted, and they be written to."""
        frames = [np.array(self.held[number]) for number in numbers]
        if any(zlib.crc32(frame.data) != self.sums[number]
               for number, frame in zip(numbers, frames)):
            return self.decode().frames(numbers)
        return frames

    def close(self) -> None:
        del self.held


def packed(digest: str, held: HeldReader) -> list[bytes | memoryview]:
    """The parts of a file of the cache."""
    frames = held.held
    head = HEAD.pack(MAGIC, bytes.fromhex(digest), held.frame_rate, len(frames),
                     *frames[0].shape[:2])
    sums = np.array([zlib.crc32(frame.data) for frame in frames], '<u4').tobytes()
    return [head, sums, checksum(head + sums), *(frame.data for frame in frames)]


def checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, 'little')


@functools.cache
def digest_of_code() -> str:
    return digest_file(readers.__file__)


def digest_of_rules(options: dict) -> str:
    """Of everything but a video that its frames depend on, as far as one can tell."""
    rules = dict(code=digest_of_code(), av=av.__version__, libraries=av.library_versions,
                 machine=platform.machine(), options=options)
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(os.path.join(place, name)).st_size
    return size


@functools.cache
def say(sentence: str) -> None:
    """Warn, once a process, and not from each of the workers."""
    worker = get_worker_info()
    if is_main_process() and (worker is None or worker.id == 0):
        print_log(sentence, 'current', logging.WARNING)
