"""Video datasets whose mistakes are named and whose randomness is reproducible."""
import os.path as osp
import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

from vita_mm.classes import read_classes
from vita_mm.errors import UserError


class SampleKey(NamedTuple):
    """Which sample, and what its random augmentations depend on."""
    index: int
    epoch: int
    seed: int


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """MMEngine's sampler, whose samples carry the seed of their augmentations.

    What a sample looks like then depends on the seed, the epoch and the sample alone:
    not on the number of processes or workers, nor on whether the run was resumed.
    """

    def __iter__(self) -> Iterator[SampleKey]:
        for index in super().__iter__():
            yield SampleKey(index, self.epoch, self.seed)


@DATASETS.register_module()
class ClipDataset(VideoDataset):
    """MMAction2's ``VideoDataset`` for a list of classes.

    Args:
        ann_file: lines of ``path label``; the path is relative to
            ``data_prefix['video']``, the label an id of ``classes``.
        pipeline: transforms.
        classes: the class names, see :func:`read_classes`.
        **kwargs: as in ``VideoDataset``.

    Raises:
        UserError: if the annotations have a fault (on building), or a video cannot be
            read (on loading it).
    """

    def __init__(self, ann_file: str, pipeline: list, classes: str | list[str],
                 data_prefix: dict = dict(video=''), test_mode: bool = False, **kwargs
                 ) -> None:
        names = read_classes(classes)
        super().__init__(
            ann_file, pipeline, data_prefix=data_prefix, test_mode=test_mode,
            num_classes=len(names), metainfo=dict(classes=names), **kwargs)

    def load_data_list(self) -> list[dict]:
        try:
            with open(self.ann_file, encoding='utf-8') as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'cannot read the annotation file {self.ann_file}: {error}'
                            ) from error
        samples = [self.read_line(f'{self.ann_file}, line {number}', line)
                   for number, line in enumerate(lines, 1) if line.strip()]
        if not samples:
            raise UserError(f'{self.ann_file} names no videos')
        return samples

    def read_line(self, place: str, line: str) -> dict:
        path, _, label = line.strip().rpartition(self.delimiter)
        if not path:
            raise UserError(f'{place}: {line!r} has no label; write "path label"')
        if not label.isdecimal() or int(label) >= self.num_classes:
            raise UserError(f'{place}: the label {label!r} is not an id from 0 to '
                            f'{self.num_classes - 1}')
        prefix = self.data_prefix.get('video') or ''
        return dict(filename=osp.join(prefix, path), label=int(label))

    def prepare_data(self, key: SampleKey | int) -> dict:
        """Run the pipeline on one sample.

        Raises:
            UserError: if its video is missing or broken.
        """
        if isinstance(key, SampleKey):
            seed_random(key)
            key = key.index
        sample = self.get_data_info(key)
        video = sample['filename']
        for transform in self.pipeline.transforms:
            try:
                sample = transform(sample)
            except Exception as error:  # decoders raise many kinds
                if 'imgs' in sample:  # decoded: a fault of the pipeline, not the video
                    raise
                raise UserError(f'the video {video} {describe_fault(video, error)}'
                                ) from error
        return sample


def seed_random(key: SampleKey) -> None:
    """Seed all generators that transforms draw from."""
    numbers = np.random.SeedSequence((key.seed, key.epoch, key.index)).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    torch.manual_seed(int(numbers[2]))


def describe_fault(video: str, error: Exception) -> str:
    if not osp.isfile(video):
        return 'does not exist; correct its path in the annotations or data_prefix'
    if osp.getsize(video) == 0:
        return 'is an empty file; copy it again or take it out of the annotations'
    reason = str(error).strip().splitlines() or ['']
    return (f'cannot be decoded ({type(error).__name__}: {reason[-1][:200]}); copy it '
            'again or take it out of the annotations')
