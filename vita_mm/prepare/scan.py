"""What lies under a dataset's folder."""
import heapq
import os
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress, SpinnerColumn, TextColumn

from vita_mm.errors import UserError

VIDEOS = ('.avi', '.mkv', '.mp4', '.webm')
ANNOTATIONS = ('.csv', '.json', '.txt')
ARCHIVES = ('.gz', '.rar', '.tar', '.tgz', '.zip')
# A file that marks a folder of resized copies; it holds the length of the short side.
COPIES = '.short_side'


class Files(NamedTuple):
    """Files below ``root``: sorted paths relative to it, with ``/`` between parts."""
    root: Path
    videos: list[str]
    annotations: list[str]


def scan(root: Path) -> Files:
    """Find the videos and annotations of a dataset in one pass.

    Links to files and folders are followed; a folder that is reached twice is read
    once, under the path with fewest links. Names with a leading dot are passed over,
    and so are resized copies that lie below ``root``.

    Raises:
        UserError: if a folder cannot be read, or there are no videos.
    """
    if not root.is_dir():
        raise UserError(f'there is no folder {root}')
    found = find_files(root)
    videos = [path for path in found if has_suffix(path, VIDEOS)]
    if not videos:
        raise UserError(describe_lack(root, found))
    annotations = [path for path in found if has_suffix(path, ANNOTATIONS)]
    return Files(root, videos, annotations)


def find_files(root: Path) -> list[str]:
    """Paths of the files that may matter; a dataset may hold millions of images too."""
    found = []
    visited = set()
    waiting = [(0, '')]  # how many links led there, and the path: a heap
    with Progress(SpinnerColumn(), TextColumn('videos found: {task.completed}')
                  ) as progress:
        task = progress.add_task('', total=None)
        while waiting:
            links, folder = heapq.heappop(waiting)
            real = os.path.realpath(root / folder)
            if real in visited:
                continue
            visited.add(real)
            if folder and (root / folder / COPIES).is_file():
                continue
            for entry in read_folder(root / folder):
                path = f'{folder}/{entry.name}'.removeprefix('/')
                if is_kind(entry, 'dir'):
                    heapq.heappush(waiting, (links + entry.is_symlink(), path))
                elif has_suffix(path, (*VIDEOS, *ANNOTATIONS, *ARCHIVES)) \
                        and is_kind(entry, 'file'):
                    found.append(path)
                    progress.advance(task, has_suffix(path, VIDEOS))
    return sorted(found)


def read_folder(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith('.')]
    except OSError as error:
        raise UserError(f'cannot read the folder {folder}: {error.strerror}') from error


def is_kind(entry: os.DirEntry, kind: str) -> bool:
    """Whether it is, or leads to, a ``dir`` or a ``file``; false for a broken link."""
    if not entry.is_symlink():
        return getattr(entry, f'is_{kind}')()  # known from reading the folder
    return getattr(os.path, f'is{kind}')(entry.path)


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes)


def describe_lack(root: Path, found: list[str]) -> str:
    sentence = f'there are no videos ({", ".join(VIDEOS)}) under {root}'
    archives = [path for path in found if has_suffix(path, ARCHIVES)]
    if archives:
        sentence += f', only archives such as {archives[0]}: unpack them first'
    return sentence
