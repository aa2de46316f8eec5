"""How each dataset lies on disk, and which list each of its videos belongs to."""
import json
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes
from vita_mm.labels.splits import read_candidates, read_split

from .kinetics import Clips, class_key, read_part
from .scan import Files

SPLITS = (1, 2, 3)


class VideoList(NamedTuple):
    """One annotation list.

    Args:
        name: the file's name without ``.txt``.
        videos: paths relative to the dataset's folder, with ids of classes; sorted.
        missing: videos that the official list names and the disk lacks; sorted.
        official: how many it names; None where there is no official list.
        sought: what was looked for, for the error of an empty list.
    """
    name: str
    videos: list[tuple[str, int]]
    missing: list[str]
    official: int | None
    sought: str


def match(name: str, wanted: Iterable[tuple[str, int]],
          find: Callable[[str], str | None]) -> VideoList:
    """The list of those wanted videos that ``find`` has a path for."""
    wanted = sorted(wanted)
    paths = [(find(video), label) for video, label in wanted]
    return VideoList(
        name, sorted((path, label) for path, label in paths if path is not None),
        [video for (video, _), (path, _) in zip(wanted, paths) if path is None],
        len(wanted),
        f'video such as {wanted[0][0]}' if wanted else 'video in its official list')


def folders_of_classes(dataset: str, files: Files) -> list[VideoList]:
    """HMDB51 and UCF101: the official lists, matched by ``CLASS/FILE``.

    Neither case nor the file's suffix counts: one folder of UCF101 differs in case from
    its own files, and many convert the videos to mp4.
    """
    paths = {}
    for path in files.videos:
        paths.setdefault(folder_and_stem(path), path)
    return [match(f'{part}_split{split}', read_split(dataset, part, split),
                  lambda video: paths.get(folder_and_stem(video)))
            for part in ('train', 'test') for split in SPLITS]


def folder_and_stem(path: str) -> tuple[str, str]:
    pure = PurePosixPath(path)
    return pure.parent.name.casefold(), pure.stem.casefold()


def kinetics400(files: Files) -> list[VideoList]:
    labels: dict[str, int | None] = {
        class_key(name): index
        for index, name in enumerate(read_classes('kinetics400'))}
    clips = Clips(files.videos)
    return [kinetics_part(part, part, files, clips, 'kinetics400', labels)
            for part in ('train', 'val')]


def kinetics600(files: Files) -> list[VideoList]:
    """The three zero-shot splits, each with 160 of the 220 new classes."""
    new = [class_key(name) for name in read_classes('kinetics600_new220')]
    clips = Clips(files.videos)
    published = [
        match(f'er_split{split}', read_split('kinetics600_new220', 'test', split),
              clips.find) for split in SPLITS]
    validation = []
    for split in SPLITS:
        labels = dict.fromkeys(map(class_key, read_classes('kinetics600')))
        labels |= {new[label]: label
                   for label in read_candidates('kinetics600_new220', split)}
        validation.append(kinetics_part(f'val_split{split}', 'val', files, clips,
                                        'kinetics600', labels))
    return published + validation


def kinetics_part(name: str, part: str, files: Files, clips: Clips, dataset: str,
                  labels: dict[str, int | None]) -> VideoList:
    """The train or the val part, from its csv lists or else from its folders."""
    wanted, official = read_part(part, files, dataset, labels)
    if official:
        return match(name, wanted, clips.find)
    videos = {}
    for path, label in wanted:
        videos.setdefault(clips.key(path), (clips.replaced(path), label))
    return VideoList(
        name, sorted(videos.values()), [], None,
        f'{part}.csv, nor a folder {part} with a folder of videos for each class')


def ssv2(files: Files) -> list[VideoList]:
    """Something-Something v2: videos named by their ids in the json lists."""
    names = read_classes('ssv2')
    check_label_ids(files, names)
    labels = {name: index for index, name in enumerate(names)}
    paths = {}
    for path in files.videos:
        paths.setdefault(PurePosixPath(path).stem, path)
    return [match(name, read_entries(files, f'{source}.json', labels),
                  lambda video: paths.get(PurePosixPath(video).stem))
            for name, source in (('train', 'train'), ('val', 'validation'))]


def check_label_ids(files: Files, names: list[str]) -> None:
    """Compare the dataset's own ids, where they are there, with ours."""
    path = find_annotation(files, 'labels.json')
    if path is None:
        return
    ids = read_json(path)
    if not isinstance(ids, dict):
        raise UserError(f'{path} does not map templates to ids')
    for template, index in ids.items():
        name = plain_template(template)
        if name not in names or str(names.index(name)) != str(index):
            raise UserError(f'{path} gives {template!r} the id {index!r}, which '
                            'disagrees with the classes of Something-Something v2')


def read_entries(files: Files, file_name: str, labels: dict[str, int]
                 ) -> list[tuple[str, int]]:
    path = find_annotation(files, file_name)
    if path is None:
        raise UserError(f'{files.root} does not look like ssv2: there is no '
                        f'{file_name} nor something-something-v2-{file_name} in it')
    entries = read_json(path)
    if not isinstance(entries, list):
        raise UserError(f'{path} is not a list of videos')
    return [read_entry(f'{path}, entry {number}', entry, labels)
            for number, entry in enumerate(entries, 1)]


def read_entry(place: str, entry: dict, labels: dict[str, int]) -> tuple[str, int]:
    if not isinstance(entry, dict) or not {'id', 'template'} <= entry.keys():
        raise UserError(f'{place} has no "id" or no "template"')
    name = plain_template(str(entry['template']))
    if name not in labels:
        raise UserError(f'{place}: there is no class {name!r} in '
                        'Something-Something v2')
    return f'{entry["id"]}.webm', labels[name]


def plain_template(template: str) -> str:
    """``Holding [something]`` as the class is named: ``Holding something``."""
    return ' '.join(template.replace('[', '').replace(']', '').split())


def find_annotation(files: Files, file_name: str) -> Path | None:
    accepted = (file_name, f'something-something-v2-{file_name}')
    found = [path for path in files.annotations
             if PurePosixPath(path).name.lower() in accepted]
    if len(found) > 1:
        raise UserError(f'{files.root} has more than one {file_name}: '
                        + ', '.join(found) + '; keep one')
    return files.root / found[0] if found else None


def read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except json.JSONDecodeError as error:
        raise UserError(f'{path}, line {error.lineno}: not valid json ({error.msg})'
                        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f'cannot read {path}: {error}') from error


LAYOUTS: dict[str, Callable[[Files], list[VideoList]]] = {
    'kinetics400': kinetics400,
    'kinetics600': kinetics600,
    'ssv2': ssv2,
    'hmdb51': lambda files: folders_of_classes('hmdb51', files),
    'ucf101': lambda files: folders_of_classes('ucf101', files),
}
