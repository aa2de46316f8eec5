"""Which classes an evaluation gets right, and which it takes for which.

Of each evaluation a folder holds, see :meth:`Confusion.save`:

- ``per_class.csv``: a line for each class: ``videos`` (those that count),
  ``unreadable`` (those of them that count as misses), ``top1`` and ``top5`` (shares of
  ``videos``, empty for a class without) and ``mistaken_for``, the class it is most
  often taken for;
- ``confusion.csv``: how many videos of the class of a line were taken for the class of
  a column; an unreadable video is taken for none;
- ``confused_pairs.csv``: the same without the diagonal and zeros, most frequent first:
  of all ``videos`` of the class ``true`` so many were ``mistaken`` for ``predicted``;
  in all three a name that a spreadsheet would take for a formula is led by ``'``;
- ``confusion.png``: all three as far as they can be read in a picture.
"""
import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from mmaction.evaluation import ConfusionMatrix

from vita_mm.errors import UserError
from vita_mm.io.files import safe_cell

from .pictures import literal

# From a trace to all.
RIGHT, WRONG = ('#e3ebf4', '#0b3c6f'), ('#fbe3d4', '#b5480b')
NO_VIDEOS = '0.85'
NAMED = 60  # more classes than this have no names beside their matrix
NUMBERED = 20  # more than this have no numbers in it
LISTED = 20  # pairs, and classes where not all are shown
NAME_LENGTH = 40  # characters of a class name in a picture
DPI = 120


@dataclass(frozen=True)
class Confusion:
    """Counts of the videos of an evaluation with C classes.

    Attributes:
        classes: their names.
        videos: that count, of each class, (C,).
        top5: those of them whose class is among the five with the best scores, (C,).
        matrix: videos of class i taken for class j, (C, C), without unreadable ones.
    """
    classes: list[str]
    videos: np.ndarray
    top5: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray, readable: np.ndarray,
           classes: list[str] | None = None) -> 'Confusion':
        """Count as MMAction2's ``top_k_accuracy`` does.

        Args:
            scores: (N, C).
            labels: (N,).
            readable: whether a video was read, (N,); else its scores do not say what it
                was taken for.
            classes: default their numbers.
        """
        number = scores.shape[1]
        best = np.argsort(scores, axis=1)[:, -5:]
        hits = (best == labels[:, None]).any(axis=1)
        # MMAction2 (1.2.0) says that it returns a dict.
        matrix = cast(torch.Tensor, ConfusionMatrix.calculate(
            torch.from_numpy(best[readable, -1]), labels[readable], number))
        return cls(
            classes=[str(index) for index in range(number)] if classes is None
            else list(classes),
            videos=np.bincount(labels, minlength=number),
            top5=np.bincount(labels[hits], minlength=number),
            matrix=matrix.numpy())

    @classmethod
    def read(cls, folder: Path) -> 'Confusion':
        """What :meth:`save` wrote.

        Raises:
            UserError: if the tables are not there, or are none of these.
        """
        try:
            with open(folder / 'confusion.csv', newline='', encoding='utf-8') as file:
                rows = list(csv.reader(file))[1:]
            with open(folder / 'per_class.csv', newline='', encoding='utf-8') as file:
                table = list(csv.DictReader(file))
            matrix = np.array([[int(part) for part in row[1:]] for row in rows])
            videos = np.array([int(row['videos']) for row in table])
            shares = np.array([float(row['top5'] or 0) for row in table])
            if matrix.shape != (len(table), len(table)) or (matrix < 0).any() \
                    or (matrix.sum(axis=1) > videos).any() or not 0 < videos.sum():
                raise ValueError('the tables do not fit each other')
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f'{folder} holds no confusion of an evaluation: {error}'
                            ) from error
        return cls([row[0] for row in rows], videos,
                   np.rint(shares * videos).astype(int), matrix)

    @cached_property
    def shares(self) -> np.ndarray:
        """``matrix`` in parts of the videos of each class, (C, C); NaN without any."""
        return divide(self.matrix, self.videos[:, None])

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """The content of ``per_class.csv``."""
        wrong = self.matrix - np.diag(np.diag(self.matrix))
        return pd.DataFrame({
            'class': self.classes,
            'videos': self.videos,
            'unreadable': self.videos - self.matrix.sum(axis=1),
            'top1': np.diag(self.shares),
            'top5': divide(self.top5, self.videos),
            'mistaken_for': [self.classes[row.argmax()] if row.any() else ''
                             for row in wrong]})

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """The content of ``confused_pairs.csv``."""
        true, predicted = np.nonzero(self.matrix)
        true, predicted = true[true != predicted], predicted[true != predicted]
        names = np.array(self.classes, dtype=object)
        pairs = pd.DataFrame(dict(
            true=names[true], predicted=names[predicted],
            mistaken=self.matrix[true, predicted], videos=self.videos[true],
            share=self.shares[true, predicted]))
        return pairs.sort_values(['mistaken', 'share'], ascending=False, kind='stable',
                                 ignore_index=True)

    def save(self, folder: Path, title: str) -> list[Path]:
        """Write tables and picture into a folder, over those that are there.

        Returns:
            The files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        names = [safe_cell(name) for name in self.classes]
        matrix = pd.DataFrame(self.matrix, pd.Index(names, name='class'), names)
        for name, table in (('per_class', self.per_class),
                            ('confused_pairs', self.pairs)):
            table.map(safe_cell).to_csv(folder / f'{name}.csv', index=False,
                                        float_format='%.6g', encoding='utf-8')
        matrix.to_csv(folder / 'confusion.csv', encoding='utf-8')
        draw(self, title).savefig(folder / 'confusion.png', dpi=DPI)
        return [folder / name for name in ('per_class.csv', 'confusion.csv',
                                           'confused_pairs.csv', 'confusion.png')]


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares; NaN of nothing."""
    return part / np.where(whole > 0, whole, np.nan)


def draw(confusion: Confusion, title: str) -> Figure:
    """The matrix, the accuracies, the pairs.

    With more than ``NAMED`` classes only the worst are named.
    """
    number = len(confusion.classes)
    named = number <= NAMED
    side = max(0.2 * number, 7) if named else 9
    widths = [side + 2.5, 2, 4.5] if named else [side, 3.5, 5]
    figure = Figure(figsize=(sum(widths), side + 1.5), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(literal(f'{title}\n{summary(confusion)}'), fontsize=11)
    matrix, accuracies, pairs = figure.subplots(1, 3, width_ratios=widths)
    draw_matrix(matrix, confusion)
    if named:
        accuracies.sharey(matrix)
        draw_accuracies(accuracies, confusion)
    else:
        draw_worst(accuracies, confusion)
    draw_pairs(pairs, confusion)
    return figure


def summary(confusion: Confusion) -> str:
    videos = confusion.videos.sum()
    unreadable = confusion.per_class.unreadable.sum()
    return (f'top-1 {np.trace(confusion.matrix) / videos:.1%} of {videos} videos of '
            f'{np.count_nonzero(confusion.videos)} classes'
            + (f', {unreadable} of them unreadable' if unreadable else ''))


def draw_matrix(axes, confusion: Confusion) -> None:
    """Each row in parts of its videos.

    Colours go by the root of the share: most mistakes are rare, and none is unseen.
    """
    number = len(confusion.classes)
    diagonal = np.eye(number, dtype=bool)
    for hidden, colours in ((~diagonal, RIGHT), (diagonal, WRONG)):
        image = axes.imshow(
            np.ma.masked_array(confusion.shares, hidden | (confusion.matrix == 0)),
            norm=PowerNorm(0.5, 0, 1), aspect='auto', interpolation='nearest',
            cmap=LinearSegmentedColormap.from_list('', colours))
    for index in np.flatnonzero(confusion.videos == 0):
        axes.axhspan(index - 0.5, index + 0.5, color=NO_VIDEOS, linewidth=0)
    axes.figure.colorbar(
        image, ax=axes, location='bottom', shrink=0.5, aspect=40, pad=0.01,
        format='{x:.0%}', ticks=[0, .1, .25, .5, 1],
        label='of the videos of the class (orange: mistaken, blue: right)')
    axes.set(xlabel='taken for', ylabel='class of the video')
    if number <= NAMED:
        axes.set_xticks(range(number), range(number), fontsize=7)
        axes.set_yticks(range(number), [f'{short(name)}  {index}' for index, name
                                        in enumerate(confusion.classes)], fontsize=8)
    if number <= NUMBERED:
        for i, j in zip(*np.nonzero(confusion.matrix)):
            share = confusion.shares[i, j]
            axes.text(j, i, f'{share:.0%}', ha='center', va='center', fontsize=7,
                      color='white' if share > 0.2 else 'black')


def draw_accuracies(axes, confusion: Confusion) -> None:
    """A bar for each class, in the rows of the matrix."""
    table = confusion.per_class
    bars = axes.barh(table.index, table.top1.fillna(0), color=RIGHT[-1])
    axes.bar_label(bars, [f'{right} of {videos}' if videos else 'no videos'
                          for right, videos in zip(np.diag(confusion.matrix),
                                                   table.videos)],
                   padding=2, fontsize=7)
    axes.tick_params(left=False, labelleft=False)
    finish(axes, 'top-1 accuracy', 1.4)


def draw_worst(axes, confusion: Confusion) -> None:
    """The classes with the lowest accuracy, those of more videos first among equals."""
    table = confusion.per_class.assign(right=np.diag(confusion.matrix))
    table = table.loc[table.videos > 0].sort_values(
        ['top1', 'videos'], ascending=[True, False], kind='stable').head(LISTED)
    draw_list(axes, [short(name) for name in table['class']], table.right, table.videos,
              RIGHT[-1])
    finish(axes, f'top-1 accuracy, the worst {len(table)} classes', 1.15)


def draw_pairs(axes, confusion: Confusion) -> None:
    table = confusion.pairs.head(LISTED)
    draw_list(axes, [f'{short(true)} → {short(predicted)}'
                     for true, predicted in zip(table.true, table.predicted)],
              table.mistaken, table.videos, WRONG[-1])
    finish(axes, 'most confused: class → taken for', 1.15)


def draw_list(axes, names: list[str], parts: pd.Series, wholes: pd.Series, colour: str
              ) -> None:
    """Bars from above, each below its name."""
    bars = axes.barh(range(len(names)), parts / wholes, height=0.35, color=colour)
    axes.bar_label(bars, [f'{part} of {whole}' for part, whole in zip(parts, wholes)],
                   padding=2, fontsize=7)
    for place, name in enumerate(names):
        axes.text(0.01, place - 0.25, name, fontsize=8, va='bottom')
    axes.set_ylim(LISTED - 0.5, -1)
    axes.set_yticks([])


def finish(axes, title: str, right: float) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, right)
    axes.set_xticks([0, 0.5, 1], ['0%', '50%', '100%'], fontsize=8)
    axes.spines[['top', 'right']].set_visible(False)


def short(name: str) -> str:
    """A name that fits into a picture."""
    if len(name) > NAME_LENGTH:
        name = f'{name[:NAME_LENGTH - 1]}…'
    return literal(name)
