"""Loading of clips, ours against decoding whole videos: pairs of calls for speed.py."""
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import vita_mm  # noqa: F401
import av
import baseline_data
import numpy as np
import torch
from mmaction.utils import register_all_modules
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from vita_mm.data.dataset import SampleKey, seed_random
from vita_mm.data.readers import PyAVReader
from vita_mm.engine.runs import load_config
from vita_mm.engine.variants import Variants, apply_variants

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, RATE, SECONDS = 340, 256, 30, 10  # as Kinetics' copies
Pairs = dict[str, tuple[Callable[[int], object], Callable[[int], object]]]


def make_videos(folder: Path, count: int) -> list[Path]:
    """H.264 files by x264's default options, each of one shot, so that most of them have
    key frames 250 frames apart: a camera that moves over a ground, with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{number}.mp4' for number in range(count)]
    for number, path in enumerate(paths):
        write_video(path, np.random.default_rng(number))
    return paths


def write_video(path: Path, generator: np.random.Generator) -> None:
    ground = generator.integers(0, 256, (60, 80, 3)).astype(np.float32)
    ground = torch.nn.functional.interpolate(
        torch.from_numpy(ground).permute(2, 0, 1)[None], scale_factor=10,
        mode='bicubic')[0].permute(1, 2, 0).numpy()
    phase = generator.uniform(0, 6, 2)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, 'yuv420p'
        for number in range(SECONDS * RATE):
            left, top = (150 + 140 * np.sin(number / 40 + phase)).astype(int)
            frame = ground[top:top + HEIGHT, left:left + WIDTH]
            frame = frame + generator.integers(-6, 7, frame.shape)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(
                frame.clip(0, 255).astype(np.uint8))))
        container.mux(stream.encode())


def pipelines(videos: list[Path]) -> Pairs:
    """Ours, from the configs, and the written-out baseline."""
    theirs = dict(
        training=baseline_data.training_clip, view=baseline_data.evaluation_views,
        views=partial(baseline_data.evaluation_views, clips=4, crops=3))
    return paired(videos, {
        key: seeded(lambda number, load=load: load(str(videos[number])))
        for key, load in theirs.items()})


def released_pipelines(videos: list[Path], folder: str | Path) -> Pairs:
    """Ours, and the released ``VideoDataset`` in ``folder``."""
    sys.path.insert(0, str(folder))
    try:
        VideoDataset = importlib.import_module('video_dataset.dataset').VideoDataset
    finally:
        sys.path.remove(str(folder))
    annotations = videos[0].parent / 'list.csv'
    annotations.write_text(''.join(f'{path.name},0\n' for path in videos))

    def loader(training: bool, spatial: int = 1, temporal: int = 1) -> Callable:
        dataset = VideoDataset(
            str(annotations), str(videos[0].parent), num_spatial_views=spatial,
            num_temporal_views=temporal, random_sample=training,
            num_frames=baseline_data.FRAMES, sampling_rate=baseline_data.STRIDE,
            spatial_size=baseline_data.SIZE, mean=baseline_data.MEAN,
            std=baseline_data.STD,
            auto_augment=baseline_data.POLICY if training else None)
        return seeded(lambda number: dataset[number][0])

    return paired(videos, dict(training=loader(True), view=loader(False),
                               views=loader(False, spatial=3, temporal=4)))


def paired(videos: list[Path], theirs: dict[str, Callable]) -> Pairs:
    ours = {key: partial(load, pipeline, videos)
            for key, pipeline in our_pipelines().items()}
    return {'training pipeline': (ours['training'], theirs['training']),
            'evaluation pipeline, 1 view': (ours['view'], theirs['view']),
            'evaluation pipeline, 4x3 views': (ours['views'], theirs['views'])}


def our_pipelines() -> dict[str, Compose]:
    register_all_modules()
    init_default_scope('mmaction')
    one = load_config(ROOT / 'configs' / 'vita_k400.py')
    many = apply_variants(one, Variants(views='4x3'))
    return dict(training=Compose(one.train_pipeline), view=Compose(one.test_pipeline),
                views=Compose(many.test_pipeline))


def sample(videos: list[Path], number: int) -> dict:
    return dict(filename=str(videos[number]), label=0, start_index=0, modality='RGB')


def load(pipeline: Compose, videos: list[Path], number: int) -> torch.Tensor:
    seed_random(SampleKey(number, 0, 0))
    results = pipeline(sample(videos, number))
    assert results is not None  # no transform of ours leaves a video out
    return results['inputs']


def seeded(call: Callable[[int], object]) -> Callable[[int], object]:
    """Draws of the augmentation that are the same for both sides."""
    def seed_and_call(number: int):
        seed_random(SampleKey(number, 0, 0))
        return call(number)
    return seed_and_call


def profile(videos: list[Path], rounds: int = 5) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU time of a video in each transform of each of our pipelines."""
    profiles = {}
    for name, pipeline in our_pipelines().items():
        times = defaultdict(list)
        for number in list(range(len(videos))) * rounds:
            seed_random(SampleKey(number, 0, 0))
            results = sample(videos, number)
            for transform in pipeline.transforms:
                start = time.process_time()
                results = transform(results)
                times[type(transform).__name__].append(
                    1000 * (time.process_time() - start))
        profiles[name] = {key: sum(values) / len(values)
                          for key, values in times.items()}
    return profiles


def decoding(videos: list[Path], rounds: int = 5) -> dict[str, float]:
    """Milliseconds of CPU time of 8 frames of a video: found by their time stamps, as in
    mp4, and decoded from the start, as everything is in AVI."""
    found = {}
    for name, strict in ('by time stamps', True), ('from the start', False):
        start = time.process_time()
        for number in list(range(len(videos))) * rounds:
            reader = PyAVReader(str(videos[number]), strict=strict)
            reader.frames(list(range(20, 148, 16)))
            reader.close()
        found[name] = 1000 * (time.process_time() - start) / (rounds * len(videos))
    return found
