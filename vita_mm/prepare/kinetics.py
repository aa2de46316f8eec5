"""Names, folders and csv lists of Kinetics."""
import csv
import functools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vita_mm.errors import UserError

from .scan import Files

# The id and both times, in seconds; an id may have '-' and '_' anywhere.
CLIP_NAME = re.compile(r'(?P<id>.+)_(?P<start>\d{6,})_(?P<end>\d{6,})')
# A word that begins or ends with train or val: training, videos_val, k400train, ...
PART = re.compile(r'(?<![a-z])(train|val)'
                  r'|(train|val)(?:ing|id|idate|idation)?(?![a-z])')
COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')

ClipKey = tuple[str, int | None]


@functools.cache
def class_key(name: str) -> str:
    """What stays of a class name whatever a file system or a script made of it."""
    return ''.join(letter for letter in name.casefold() if letter.isalnum())


class Clips:
    """Videos by YouTube id and start.

    Those in a folder ``replacement...`` stand in for the same clip elsewhere: in
    Kinetics-400 some files are corrupt, and it is distributed with whole ones.
    """

    def __init__(self, videos: list[str]) -> None:
        self.replacements, self.originals = {}, {}
        for path in videos:
            index = self.replacements if is_replacement(path) else self.originals
            index.setdefault(self.key(path), path)

    @staticmethod
    def key(path: str) -> ClipKey:
        """Id and start; a name without times is an id."""
        stem, _ = posixpath.splitext(posixpath.basename(path))
        name = CLIP_NAME.fullmatch(stem)
        return (name['id'], int(name['start'])) if name else (stem, None)

    def find(self, name: str) -> str | None:
        """Path of a clip; one named by the id alone will do."""
        exact = self.key(name)
        for index in (self.replacements, self.originals):
            for key in (exact, (exact[0], None)):
                if key in index:
                    return index[key]
        return None

    def replaced(self, path: str) -> str:
        """The path itself, or that of its replacement."""
        exact = self.key(path)
        return self.replacements.get(exact) or self.replacements.get(
            (exact[0], None), path)


def is_replacement(path: str) -> bool:
    return any(folder.lower().startswith('replacement')
               for folder in path.split('/')[:-1])


@functools.cache
def part_of(name: str) -> str | None:
    """``train``, ``val``, or None where a name says neither."""
    found = PART.search(name.lower())
    return (found[1] or found[2]) if found else None


def read_part(part: str, files: Files, dataset: str, labels: dict[str, int | None]
              ) -> tuple[list[tuple[str, int]], bool]:
    """Videos of one part.

    Args:
        part: ``train`` or ``val``.
        files: the dataset.
        dataset: its name, for messages.
        labels: every class by :func:`class_key`; videos of a class with None are left
            out.

    Returns:
        File names with labels from the part's csv lists and True; or, if it has none,
        paths with labels from the folders and False.

    Raises:
        UserError: if a list is malformed, or the class of a video is not known.
    """
    lists = [path for path in files.annotations
             if part_of(PurePosixPath(path).stem) == part
             and is_list(files.root / path)]
    read = [(place, name, label) for path in lists
            for place, name, label in read_list(files.root / path)]
    if not lists:
        read = list(read_folders(part, files, labels))
    videos = {}
    for place, name, label in read:
        if class_key(label) not in labels:
            raise UserError(f'{place}: there is no class {label!r} in {dataset}')
        # A clip that is named twice, by two copies of a list, counts once.
        key = Clips.key(name) if lists else name
        videos.setdefault(key, (name, labels[class_key(label)]))
    return [video for video in videos.values() if video[1] is not None], bool(lists)


def is_list(path: Path) -> bool:
    """A text file is a list only with the right header: other text is about, too."""
    if path.suffix.lower() == '.csv':
        return True
    if path.suffix.lower() != '.txt':
        return False
    try:
        with path.open(encoding='utf-8-sig', errors='replace') as file:
            return 'youtube_id' in file.readline(1000)
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from error


def read_list(path: Path) -> Iterator[tuple[str, str, str]]:
    """Place, file name and class name of every row."""
    number = 1
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            rows = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if lacking:
                raise UserError(f'{path}, line 1: the header has no '
                                + ', '.join(lacking))
            for row in rows:
                number = rows.line_num
                yield f'{path}, line {number}', *read_row(row)
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not text in utf-8') from error
    except (ValueError, OverflowError, csv.Error) as error:
        raise UserError(f'{path}, line {number}: {error}') from error
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from error


def read_row(row: dict[str, str | None]) -> tuple[str, str]:
    label, youtube_id, start, end = ((row[name] or '').strip() for name in COLUMNS)
    if not label or not youtube_id:
        raise ValueError('a row needs a label and a youtube_id')
    # Some copies of the lists write the seconds as 12.0.
    return f'{youtube_id}_{int(float(start)):06d}_{int(float(end)):06d}.mp4', label


def read_folders(part: str, files: Files, labels: dict[str, int | None]
                 ) -> Iterator[tuple[str, str, str]]:
    """Place, path and class name of every video in the part's class folders."""
    for path in files.videos:
        if is_replacement(path):
            continue
        *folders, _ = path.split('/')
        folder = folders[-1] if folders else ''
        is_class = class_key(folder) in labels
        # The class "training dog" is no part.
        parts = filter(None, map(part_of, folders[:-1] if is_class else folders))
        if next(parts, None) != part:
            continue
        if not is_class and part_of(folder) == part:
            raise UserError(f'{files.root}/{path} lies in no folder of a class, and '
                            f'there is no {part}.csv that tells its class')
        yield f'{files.root}/{path}', path, folder
