"""Video datasets whose mistakes are named and whose randomness is reproducible."""
import contextlib
import os.path as osp
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from mmaction.datasets import VideoDataset
from mmaction.registry import DATASETS
from mmengine.dataset import Compose, DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from vita_mm.errors import UserError
from vita_mm.io.files import locate, read_lines
from vita_mm.labels.class_names import read_classes

SUBSTITUTES = 10  # tried before it is the data set, not a video, that is at fault


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

    A video that cannot be read does not stop a run. In training another sample stands in
    for it, and the sample's field ``stands_in`` says for what; in evaluation the field
    ``unreadable`` does, and the metric counts it (:class:`VideoAccMetric`).

    What transforms draw in evaluation, such as clips of a video, follows from the place
    of the sample in the lists alone, unless a :class:`SeededSampler` seeds it: every
    evaluation of a dataset sees the same, of any model, by any number of processes.

    Args:
        ann_file: lines of ``path label``, with any spaces or tabs between; the path,
            which may have spaces too, is relative to ``data_prefix['video']``, the label
            an id of ``classes``. Both this and ``data_prefix`` are looked up in the
            current folder, then in the project's. Of a list of files,
            such as the splits of a test set, each video is read once, and its sample's
            field ``splits`` says which of the files name it.
        pipeline: transforms.
        classes: the class names, see :func:`read_classes`.
        **kwargs: as in ``VideoDataset``.

    Raises:
        UserError: if the annotations have a fault (on building), or a video cannot be
            read and neither can those tried in its place (on loading it).
    """
    num_classes: int  # always known here

    def __init__(self, ann_file: str | list[str], pipeline: list,
                 classes: str | list[str], data_prefix: dict | None = None,
                 test_mode: bool = False, **kwargs) -> None:
        names = read_classes(classes)
        data_prefix = dict(video='') if data_prefix is None else data_prefix
        if set(data_prefix) - {'video'}:
            raise UserError(f'data_prefix has the key {next(iter(data_prefix))!r}; the '
                            "only one is 'video'")
        if kwargs.get('data_root'):
            kwargs['data_root'] = locate(kwargs['data_root'])
        else:
            data_prefix = {key: locate(path) for key, path in data_prefix.items()}
        self.ann_files = [ann_file] if isinstance(ann_file, str) else list(ann_file)
        super().__init__(
            self.ann_files[0], pipeline, data_prefix=data_prefix, test_mode=test_mode,
            num_classes=len(names), metainfo=dict(classes=names), **kwargs)

    def load_data_list(self) -> list[dict]:
        samples = {}
        self.ann_files = [locate(osp.join(self.data_root or '', file))
                          for file in self.ann_files]
        for split, ann_file in enumerate(self.ann_files):
            for place, line in annotations(ann_file):
                path, label = self.read_line(place, line)
                # Only the union of several files is free of repeated videos.
                key = path if len(self.ann_files) > 1 else len(samples)
                sample = samples.setdefault(
                    key, dict(filename=path, label=label, splits=[]))
                if sample['label'] != label:
                    raise UserError(f'{place}: {path} has the label {label} here and '
                                    f'{sample["label"]} in an earlier file')
                sample['splits'].append(split)
        return list(samples.values())

    def read_line(self, place: str, line: str) -> tuple[str, int]:
        between = r'[ \t]+' if self.delimiter == ' ' else re.escape(self.delimiter)
        found = re.fullmatch(rf'(.*[^ \t]){between}[ \t]*([^ \t]*)', line.strip(' \t'),
                             re.DOTALL)
        if not found:
            raise UserError(f'{place}: {line!r} has no label; write "path label"')
        path, label = found.groups()
        if not (label.isascii() and label.isdecimal()) or int(label) >= self.num_classes:
            raise UserError(f'{place}: the label {label!r} is not an id from 0 to '
                            f'{self.num_classes - 1}')
        return osp.join(self.data_prefix.get('video') or '', path), int(label)

    def prepare_data(self, key: SampleKey | int) -> dict:
        """Run the pipeline on one sample, or on one that stands in for it.

        Raises:
            UserError: if ten others cannot be read either.
        """
        seeded = self.test_mode or isinstance(key, SampleKey)
        key = key if isinstance(key, SampleKey) else SampleKey(key, 0, 0)
        first, fault = self.get_data_info(key.index), None
        with kept_random() if self.test_mode else contextlib.nullcontext():
            for index in (key.index, *self.substitutes(key)):
                if seeded:
                    seed_random(key._replace(index=index))
                try:
                    sample = run_pipeline(self.pipeline, self.get_data_info(index))
                except UserError as error:
                    fault = fault or error
                else:
                    return self.mark(sample, first, fault)
        raise UserError(f'{fault}; nor can others be read: check data_prefix, and run '
                        'tools/check_dataset.py') from fault

    def substitutes(self, key: SampleKey) -> list[int]:
        """Samples to try where one cannot be read; they follow from the key alone."""
        numbers = np.random.default_rng((key.seed, key.epoch, key.index))
        return numbers.integers(len(self), size=SUBSTITUTES).tolist()

    def mark(self, packed: dict, first: dict, fault: UserError | None) -> dict:
        """Say on the packed sample what it is of, and what it stands for."""
        sample = packed.get('data_samples')
        if sample is None:  # the pipeline does not pack
            return packed
        sample.set_field(first['filename'], 'video')
        if self.test_mode:
            sample.set_gt_label(first['label'])
            sample.set_field(first['splits'], 'splits')
            sample.set_field(fault and str(fault), 'unreadable')
        else:
            sample.set_field(fault and str(fault), 'stands_in')
        return packed


def run_pipeline(pipeline: Compose, sample: dict) -> dict:
    """Run transforms on a sample.

    Raises:
        UserError: if its video is missing or broken.
    """
    video = sample['filename']
    for transform in pipeline.transforms:
        try:
            sample = transform(sample)
        except Exception as error:  # decoders raise many kinds
            if 'imgs' in sample:  # decoded: a fault of the pipeline, not the video
                raise
            raise UserError(f'the video {video} {describe_fault(video, error)}'
                            ) from error
    return sample


def annotations(ann_file: str) -> list[tuple[str, str]]:
    """The lines of an annotation file, each with its place for messages.

    Raises:
        UserError: if it cannot be read or is empty.
    """
    lines = read_lines(ann_file, 'the annotation file')
    found = [(f'{ann_file}, line {number}', line)
             for number, line in enumerate(lines, 1) if line.strip(' \t')]
    if not found:
        raise UserError(f'{ann_file} names no videos')
    return found


def check_batches(part: str, dataloader: DataLoader) -> None:
    """Refuse a dataloader that would silently leave out what it is asked for.

    Args:
        part: ``train``, ``val`` or ``test``.

    Raises:
        UserError: if a training has no batch at all, or an evaluation drops its last.
    """
    if not dataloader.drop_last:
        return
    if part != 'train':
        raise UserError(f'{part}_dataloader.drop_last would leave videos out of the '
                        'evaluation: take it out of the config')
    sampler, size = dataloader.sampler, dataloader.batch_size
    if isinstance(sampler, DefaultSampler) and size is not None and len(sampler) < size:
        dataset, processes = sampler.dataset, sampler.world_size
        name = getattr(dataset, 'ann_file', None) or 'the training set'
        raise UserError(
            f'{name} has {len(dataset)} videos, fewer than a batch of {size} for each of '
            f'{processes} process{"es" * (processes > 1)}, so that there would be no '
            f'step: set train_dataloader.batch_size={len(sampler)} or less, or '
            'train_dataloader.drop_last=False')


def seed_random(key: SampleKey) -> None:
    """Seed all generators that transforms draw from; a GPU's is none of them."""
    numbers = np.random.SeedSequence((key.seed, key.epoch, key.index)).generate_state(3)
    random.seed(int(numbers[0]))
    np.random.seed(numbers[1])
    torch.default_generator.manual_seed(int(numbers[2]))


@contextlib.contextmanager
def kept_random() -> Iterator[None]:
    """Have these generators go on afterwards as if nothing had been drawn: a training
    may be between two of its steps."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def describe_fault(video: str, error: Exception) -> str:
    if not osp.isfile(video):
        return 'does not exist; correct its path in the annotations or data_prefix'
    if osp.getsize(video) == 0:
        return 'is an empty file; copy it again or take it out of the annotations'
    reason = str(error).strip().split('\n')
    return (f'cannot be decoded ({type(error).__name__}: {reason[-1][:200]}); copy it '
            'again or take it out of the annotations')
