"""The official train and test lists of the zero-shot datasets."""
from vita_mm.errors import UserError

from .class_names import LABELS, read_rows


def read_split(dataset: str, part: str, split: int) -> list[tuple[str, int]]:
    """Videos of one part of one official split.

    Args:
        dataset: ``hmdb51``, ``ucf101`` or ``kinetics600_new220`` (the videos on which
            zero-shot accuracy on Kinetics-600 is published; only ``test``).
        part: ``train`` or ``test``.
        split: 1, 2 or 3.

    Returns:
        Paths, relative to the dataset's folder, with ids of
        ``read_classes(dataset)``. Those of Kinetics-600 are file names
        ``YOUTUBE-ID_START_END.mp4``.
    """
    check_split(part, split)
    rows = read_rows(LABELS / 'videos' / f'{dataset}.csv')
    if dataset == 'kinetics600_new220':
        wanted = set(read_candidates(dataset, split)) if part == 'test' else ()
        return [(row['video'], int(row['id'])) for row in rows
                if int(row['id']) in wanted]
    return [(row['path'], int(row['id'])) for row in rows if row[f'split{split}'] == part]


def read_candidates(dataset: str, split: int) -> list[int]:
    """Ids of the classes that a split chooses among: all, but in Kinetics-600."""
    check_split('test', split)
    rows = read_rows(LABELS / 'classes' / f'{dataset}.csv')
    return [int(row['id']) for row in rows
            if row.get(f'split{split}', 'test') == 'test']


def renamed_classes() -> dict[str, str]:
    """Classes of Kinetics-400 to their new names in Kinetics-600; '' where it has none.

    Names that both share are left out.
    """
    return {row['kinetics400']: row['kinetics600']
            for row in read_rows(LABELS / 'kinetics400_to_600.csv')}


def check_split(part: str, split: int) -> None:
    if part not in ('train', 'test') or split not in (1, 2, 3):
        raise UserError(f'there is no part {part!r} of a split {split!r}: say train or '
                        'test, and 1, 2 or 3')
