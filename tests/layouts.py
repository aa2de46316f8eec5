"""Small datasets in the folders and with the lists that their owners distribute."""
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vita_mm.labels.class_names import read_classes
from vita_mm.labels.splits import read_split
from world import write_video

SPLITS = (1, 2, 3)


def write_raw(name: str, root: Path, num_frames: int = 140, size: int = 64) -> Path:
    """A dataset of a few real videos under ``root``; every list has two or more."""
    root.mkdir(parents=True)
    for suffix in ('mp4', 'avi', 'mkv'):
        write_video(root.parent / f'{name}.{suffix}', num_frames, size)
    for path in LAYOUTS[name](root):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # webm is a kind of mkv.
        suffix = file.suffix.replace('webm', 'mkv')
        os.link(root.parent / f'{name}{suffix}', file)
    return root


def kinetics400(root: Path) -> list[str]:
    return [f'{part}/{name}/{part}_{index:06d}_000001_000011.mp4'
            for part in ('train', 'val') for index, name in
            enumerate(('abseiling', 'playing guitar', 'zumba'))]


def kinetics600(root: Path) -> list[str]:
    names = read_classes('kinetics600_new220')
    return [f'val/{names[label]}/{path}' for path, label in some_of_all_splits(
        'kinetics600_new220')]


def hmdb51(root: Path) -> list[str]:
    return [f'hmdb51_org/{path}' for path, _ in some_of_all_splits('hmdb51')]


def ucf101(root: Path) -> list[str]:
    return [f'UCF-101/{path}' for path, _ in some_of_all_splits('ucf101')]


def ssv2(root: Path) -> list[str]:
    templates = ['Approaching [something] with your camera',
                 'Putting [something] on a surface']
    for part in ('train', 'validation'):
        rows = [dict(id=f'{len(part)}{index}', template=template, label=template)
                for index, template in enumerate(templates)]
        (root / f'{part}.json').write_text(json.dumps(rows))
    return [f'20bn-something-something-v2/{len(part)}{index}.webm'
            for part in ('train', 'validation') for index in range(2)]


LAYOUTS = {layout.__name__: layout
           for layout in (kinetics400, kinetics600, hmdb51, ucf101, ssv2)}


def some_of_all_splits(dataset: str) -> Iterator[tuple[str, int]]:
    """Official videos and labels: two or more of every list of every split."""
    where = {}
    for split in SPLITS:
        for part in ('train', 'test'):
            for video in read_split(dataset, part, split):
                where.setdefault(video, []).append((part, split))
    counts = Counter()
    for video, lists in where.items():
        if any(counts[name] < 2 for name in lists):
            counts.update(lists)
            yield video
