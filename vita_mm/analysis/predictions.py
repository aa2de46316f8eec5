"""What an evaluation said of each video: ``predictions.npz`` in a run's folder.

For each set of prompts and each split, which are empty where there are none, the file has
one array a field of :class:`Predictions`, named ``PROMPTS/SPLIT/FIELD``.
"""
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vita_mm.errors import UserError
from vita_mm.io.files import write_bytes

NAME = 'predictions.npz'
# Set of prompts and split to what was said.
Sets = Mapping[tuple[str, str], 'Predictions']


@dataclass(frozen=True)
class Predictions:
    """Of the videos of an evaluation, in their order, each once; arrays of length N.

    Attributes:
        video: path as the dataset names it, or ``#NUMBER`` where it names none.
        label: index of the class among ``classes``.
        predicted: index of the class with the highest score, -1 if it was not readable.
        rank: of the right class among the scores, from 1: top-k is right up to rank k.
            0 for a video that does not count.
        unreadable: whether it could not be read, which counts as a miss or not at all.
        classes: names, (C,), empty if they are not known.
    """
    video: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    unreadable: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, results: list[dict], count_unreadable: bool,
           classes: list[str] | None = None) -> 'Predictions':
        """Of what ``VideoAccMetric`` keeps of each video."""
        scores = np.stack([result['pred'] for result in results])
        label = np.array([result['label'] for result in results])
        unreadable = np.array([bool(result['unreadable']) for result in results])
        # The order of MMAction2's top_k_accuracy, so that equal scores count alike.
        order = np.argsort(scores, axis=1)[:, ::-1]
        rank = (order == label[:, None]).argmax(axis=1) + 1
        rank[unreadable] = scores.shape[1] if count_unreadable else 0
        return cls(
            np.array([result.get('video') or f'#{number}'
                      for number, result in enumerate(results)]),
            label.astype(np.int32),
            np.where(unreadable, -1, order[:, 0]).astype(np.int32),
            rank.astype(np.int32), unreadable, np.array(classes or [], dtype=str))


def save(path: Path, sets: Sets) -> None:
    """Write the file, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{
        f'{prompts}/{split}/{field.name}': getattr(found, field.name)
        for (prompts, split), found in sets.items() for field in fields(found)})
    write_bytes(path, content.getvalue())


def read(path: Path) -> dict[tuple[str, str], Predictions]:
    """The sets of a file.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    try:
        with np.load(path, allow_pickle=False) as content:
            for name in content.files:
                prompts, split, field = name.rsplit('/', 2)
                parts.setdefault((prompts, split), {})[field] = content[name]
        return {key: Predictions(**found) for key, found in parts.items()}
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f'{path} holds no predictions: run its evaluation again, which '
                        f'writes them anew ({error})') from error
