"""Writes the lists of a dataset, and a link to its videos or smaller copies of them.

    videos                  a link to the dataset; with a short side, a folder of copies
    LIST.txt                annotations in MMAction2's format, relative to ``videos``
    missing_LIST.txt        what an official list names and the disk lacks, if anything
    broken_resize.txt       what could not be copied, if anything
    classes_splitN.txt      the classes of a zero-shot split of Kinetics-600
    prepared.json           what was done, and how many videos were found; last
"""
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vita_mm.errors import UserError, printable
from vita_mm.io.files import fits_a_line, replacing
from vita_mm.labels.class_names import read_classes
from vita_mm.labels.splits import read_candidates

from .layouts import LAYOUTS, SPLITS, VideoList
from .resize import copy_path, resize_videos
from .scan import COPIES, scan


class Count(NamedTuple):
    """How many videos of a list there are.

    ``official`` is None where there is no official list; ``found`` counts those on
    disk, the ``broken`` ones among them, which could not be copied.
    """
    official: int | None
    found: int
    missing: int
    broken: int


def prepare(name: str, root: str | Path, out: str | Path,
            short_side: int | None = None, workers: int | None = None,
            strict: bool = True) -> dict[str, Count]:
    """Write what the head of this module lists into ``out``.

    Args:
        name: one of ``LAYOUTS``.
        root: the dataset as distributed; nothing is written there.
        out: where the lists go.
        short_side: copy the videos with a shorter side of so many pixels.
        workers: how many processes copy; as many as cores by default.
        strict: see :func:`resize_videos`.

    Returns:
        The counts of every list.

    Raises:
        UserError: if ``root`` is not the dataset, so that all lists would be empty, or
            ``out`` holds something else; the lists of an earlier run then stay as they
            are. A single empty list is not written: who only evaluates needs no
            training videos.
    """
    root, out = Path(root), Path(out)
    workers = os.cpu_count() or 1 if workers is None else workers
    check_numbers(short_side, workers)
    check_videos(out / 'videos', root, short_side)
    files = scan(root)
    lists = LAYOUTS[name](files)
    check_lists(name, root, lists)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if short_side is None:
            broken = {}
            link_videos(out, root)
        else:
            broken = copy_videos(lists, root, out / 'videos', short_side, workers,
                                 strict)
        texts = {f'{listed.name}.txt': annotations(listed, short_side, broken)
                 for listed in lists}
        counts = {listed.name: count(listed, broken) for listed in lists}
        texts |= side_texts(name, lists, broken)
        texts['prepared.json'] = json.dumps(dict(
            name=name, root=os.path.abspath(root), resize=short_side,
            broken=len(broken),
            lists={key: value._asdict() for key, value in counts.items()}), indent=1)
        write_texts(out, texts)
    except OSError as error:
        raise UserError(f'cannot write into {out}: {error}') from error
    return counts


def check_numbers(short_side: int | None, workers: int) -> None:
    if short_side is not None and (short_side < 2 or short_side % 2):
        raise UserError(f'the short side must be an even number of pixels, not '
                        f'{short_side}')
    if workers < 1:
        raise UserError(f'there must be at least one worker, not {workers}')


def check_videos(videos: Path, root: Path, short_side: int | None) -> None:
    """Refuse to replace what ``videos`` is already."""
    if not os.path.lexists(videos):
        return
    advice = 'remove it or choose another --out'
    if short_side is None:
        if os.path.realpath(videos) != os.path.realpath(root):
            kind = (f'a link to {os.readlink(videos)}' if videos.is_symlink() else
                    'not a link')
            raise UserError(f'{videos} is {kind}, where a link to {root} should go; '
                            + advice)
    elif videos.is_symlink() or not videos.is_dir():
        raise UserError(f'{videos} is not a folder, where resized copies should go; '
                        + advice)
    elif any(videos.iterdir()) and read_side(videos) != str(short_side):
        what = (f'copies with a short side of {read_side(videos)}'
                if read_side(videos) else 'something else')
        raise UserError(f'{videos} holds {what}, where copies with a short side of '
                        f'{short_side} should go; {advice}')


def read_side(videos: Path) -> str | None:
    try:
        return (videos / COPIES).read_text().strip()
    except OSError:
        return None


def check_lists(name: str, root: Path, lists: list[VideoList]) -> None:
    if not any(listed.videos for listed in lists):
        raise UserError(f'{root} does not look like {name}: all lists would be empty, '
                        'for there is no ' + ', nor a '.join(dict.fromkeys(
                            listed.sought for listed in lists)))
    for listed in lists:
        for path, _ in listed.videos:
            if not fits_a_line(path):
                raise UserError(f'{str(root / path)!r} cannot stand in a list, where a '
                                'name is a line of UTF-8: rename it')


def link_videos(out: Path, root: Path) -> None:
    if not os.path.lexists(out / 'videos'):
        inside = os.path.realpath(out) == os.path.realpath(root)
        (out / 'videos').symlink_to('.' if inside else os.path.abspath(root))


def copy_videos(lists: list[VideoList], root: Path, folder: Path, short_side: int,
                workers: int, strict: bool) -> dict[str, str]:
    """Copy every listed video; returns the broken ones with the reasons."""
    folder.mkdir(exist_ok=True)
    write_texts(folder, {COPIES: f'{short_side}\n'})
    videos = sorted({path for listed in lists for path, _ in listed.videos})
    broken = resize_videos(videos, root, folder, short_side, workers, strict)
    if len(broken) == len(videos):
        path = videos[0]
        raise UserError(f'all {len(videos)} videos are broken: {root / path}: '
                        f'{broken[path]}')
    return broken


def annotations(listed: VideoList, short_side: int | None, broken: dict[str, str]
                ) -> str:
    rename = str if short_side is None else copy_path
    return ''.join(f'{rename(path)} {label}\n' for path, label in listed.videos
                   if path not in broken)


def count(listed: VideoList, broken: dict[str, str]) -> Count:
    return Count(listed.official, len(listed.videos), len(listed.missing),
                 sum(path in broken for path, _ in listed.videos))


def side_texts(name: str, lists: list[VideoList], broken: dict[str, str]
               ) -> dict[str, str]:
    """The files beside the lists; an empty one is not to be there."""
    texts = {f'missing_{listed.name}.txt': as_lines(listed.missing) for listed in lists}
    texts['broken_resize.txt'] = as_lines(
        f'{path}: {reason}' for path, reason in sorted(broken.items()))
    if name == 'kinetics600':
        names = read_classes('kinetics600_new220')
        for split in SPLITS:
            texts[f'classes_split{split}.txt'] = as_lines(
                names[index] for index in read_candidates('kinetics600_new220', split))
    return texts


def as_lines(items: Iterable[str]) -> str:
    """A line for each, whatever is in it."""
    return ''.join(printable(item).replace('\n', '\\n') + '\n' for item in items)


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    """Write each file whole, or remove it if its text is empty."""
    for name, text in texts.items():
        if not text:
            (folder / name).unlink(missing_ok=True)
            continue
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding='utf-8')
