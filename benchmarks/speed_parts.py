"""What speed.py measures, part by part."""
import atexit
import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import speed_data
import speed_measure as measure
import torch
import torch.distributed
from speed_measure import Figures
from speed_models import (
    Call,
    Setup,
    build_model,
    build_opponent,
    make_batch,
    normalised,
    our_evaluation,
    our_step,
    their_evaluation,
    their_step,
    with_gradient,
    without_gradient,
)
from torch.multiprocessing.spawn import spawn
from vita_mm.models import VitaCLIPTextHead

CLIPS = 4  # of a micro-batch
MICRO_BATCHES = 8
RANKS = (2, 4)
VIDEOS = 8
STEP = f'training step, {CLIPS} clips'
ACCUMULATED = f'training step, {MICRO_BATCHES} micro-batches of {CLIPS} clips'
EVALUATION = 'evaluation, 1 clip of 1 view'
VISION = f'vision forward, {CLIPS} clips'
TEXT = 'text forward and backward, CSC'
MEMORY = f'peak memory of a {STEP}'
PIPELINE = 'training pipeline, a video'
MATRIX = 'matrix products alone'
GPU_CLIPS = 32
GPU_STEP = f'training step, {GPU_CLIPS} clips'


class NotHere(Exception):
    """Why a part cannot be measured on this machine."""


@dataclass(frozen=True)
class Target:
    """What a ratio is to be: at least, or else at most, a value."""
    value: float
    least: bool = True

    def reached(self, ratio: float) -> bool:
        return ratio >= self.value if self.least else ratio <= self.value

    def __str__(self) -> str:
        return f'{"≥" if self.least else "≤"} {self.value:g}'


# Against the released code, on a CPU, in float32 where nothing else is said. Against
# matrix products alone a ratio is the share of their rate.
TARGETS = {
    ('step', STEP): Target(4.5),
    ('step', ACCUMULATED): Target(6.5),
    ('eval', EVALUATION): Target(15),
    ('vision', VISION): Target(1.4),
    ('text', TEXT): Target(8),
    ('memory', MEMORY): Target(0.3, least=False),
    ('memory', f'{MEMORY}, checkpointing'): Target(0.3, least=False),
    ('data', PIPELINE): Target(4),
    ('matmul', VISION): Target(0.9),
    ('precision', f'{STEP}, bfloat16'): Target(10),
    ('gpu', f'{GPU_STEP}, bfloat16, compiled'): Target(0.5),
}


@dataclass(frozen=True)
class Comparison:
    """Something that is measured of ours and of an opponent, in pairs.

    Attributes:
        pairs: function of their number, yields what ours took and what the opponent.
        figure: which of the figures counts: ``cpu``, ``wall`` (seconds) or ``GiB``.
        enough: a number of pairs that is enough, for what hardly varies.
    """
    part: str
    what: str
    opponent: str
    pairs: Callable[[int], Iterator[tuple[Figures, Figures]]]
    figure: str = 'cpu'
    enough: int | None = None

    @property
    def target(self) -> Target | None:
        return TARGETS.get((self.part, self.what))


@dataclass(frozen=True)
class Facts:
    """Numbers of ours alone: a function that returns them by name."""
    part: str
    what: str
    find: Callable[[], Figures]


def side_by_side(make: Callable[[], tuple[Call, Call]]
                 ) -> Callable[[int], Iterator[tuple[Figures, Figures]]]:
    """Pairs of the two calls that ``make()`` gives; they are made when it is their turn.
    """
    def pairs(number: int) -> Iterator[tuple[Figures, Figures]]:
        ours, opponent = make()
        yield from measure.interleave(ours, opponent, number)
    return pairs


def step(setup: Setup) -> Iterator[Comparison]:
    name = setup.opponent
    yield Comparison('step', STEP, name, side_by_side(partial(steps, setup, name)))
    yield Comparison('step', ACCUMULATED, name, side_by_side(
        partial(steps, setup, name, MICRO_BATCHES)),
        enough=1)  # it takes the opponent the time of eight steps


def steps(setup: Setup, name: str, micro_batches: int = 1, bfloat16: bool = False,
          compile: bool = False):
    model = build_model(setup, compile=compile)
    return (our_step(model, CLIPS, micro_batches, bfloat16),
            their_step(setup, name, CLIPS, micro_batches))


def evaluation(setup: Setup) -> Iterator[Comparison]:
    name = setup.opponent
    for what, views in ((EVALUATION, 1), ('evaluation, 1 clip of 4x3 views', 12)):
        yield Comparison('eval', what, name, side_by_side(
            partial(evaluations, setup, name, views)))


def evaluations(setup: Setup, name: str, views: int = 1, bfloat16: bool = False,
                compile: bool = False):
    model = build_model(setup, compile=compile)
    return (our_evaluation(model, views=views, bfloat16=bfloat16),
            their_evaluation(setup, name, views))


def text(setup: Setup) -> Iterator[Comparison]:
    name = setup.opponent
    for context in ('csc', 'uc'):
        yield Comparison('text', f'text forward, {context.upper()}', name,
                         side_by_side(partial(texts, setup, name, context)))
        yield Comparison('text', f'text forward and backward, {context.upper()}',
                         name, side_by_side(
                             partial(texts, setup, name, context, backward=True)))


def texts(setup: Setup, name: str, context: str, backward: bool = False):
    head = build_model(setup, context).cls_head
    opponent = build_opponent(setup, name, context)
    if backward:
        return with_gradient(head.text_features), with_gradient(opponent.encode_text)
    # Not `text_features`, which would keep them.
    return without_gradient(head.encode), without_gradient(opponent.encode_text)


def vision(setup: Setup) -> Iterator[Comparison]:
    name = setup.opponent
    yield Comparison('vision', VISION, name,
                     side_by_side(partial(visions, setup, name, without_gradient)))
    yield Comparison('vision', f'vision forward and backward, {CLIPS} clips', name,
                     side_by_side(partial(visions, setup, name, with_gradient)))


def visions(setup: Setup, name: str, mode: Callable):
    model, opponent = build_model(setup), build_opponent(setup, name)
    video = normalised(model, make_batch(model, CLIPS))[:, 0]
    return (mode(partial(model.backbone, video)), mode(partial(opponent.visual, video)))


# Peak memory, each in a process of its own


def memory(setup: Setup) -> Iterator[Comparison]:
    name = setup.opponent
    for checkpointing in (False, True):
        what = f'{MEMORY}, checkpointing' if checkpointing else MEMORY
        yield Comparison('memory', what, name,
                         partial(memories, setup, name, checkpointing), 'GiB',
                         enough=1)


def memories(setup: Setup, name: str, checkpointing: bool, number: int):
    for _ in range(number):
        yield (measure.in_new_process(step_memory, setup, None, checkpointing),
               opponent_memory(setup, name))


@functools.cache
def opponent_memory(setup: Setup, name: str) -> Figures:
    return measure.in_new_process(step_memory, setup, name)


def step_memory(setup: Setup, name: str | None, checkpointing: bool = False) -> Figures:
    """The peak of a training step of ours, or of the opponent ``name``."""
    torch.set_num_threads(setup.threads)
    if name is None:
        call = our_step(build_model(setup, checkpointing=checkpointing), CLIPS)
    else:
        call = their_step(setup, name, CLIPS)
    return dict(GiB=measure.peak_memory(call) / 2**30)


# Data


def data(setup: Setup) -> Iterator[Comparison | Facts]:
    videos = make_videos()
    pipelines = speed_data.released_pipelines(videos, setup.released) \
        if setup.released else speed_data.pipelines(videos)
    for what, calls in pipelines.items():
        yield Comparison('data', f'{what}, a video', setup.opponent,
                         partial(video_pairs, *calls))
    yield Facts('data', 'our training pipeline: CPU milliseconds of a video',
                lambda: speed_data.profile(videos)['training'])


@functools.cache
def make_videos() -> list[Path]:
    """Videos of Kinetics' size, for as long as this process lives."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return speed_data.make_videos(Path(folder.name), VIDEOS)


def video_pairs(ours: Callable, opponent: Callable, number: int
                ) -> Iterator[tuple[Figures, Figures]]:
    """Figures of one video, from all of them; on one thread, as in a data worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for own, other in measure.interleave(partial(load_all, ours),
                                         partial(load_all, opponent), number):
        yield of_one(own), of_one(other)
    torch.set_num_threads(threads)


def of_one(took: Figures) -> Figures:
    return {clock: value / VIDEOS for clock, value in took.items()}


def load_all(load: Callable[[int], object]) -> None:
    for number in range(VIDEOS):
        load(number)


# Data-parallel ranks


def ranks(setup: Setup) -> Iterator[Comparison]:
    for world in RANKS:
        yield Comparison('ranks', f'{TEXT}, on each of {world} ranks', 'ours on one',
                         partial(rank_pairs, setup, world), enough=3)


def rank_pairs(setup: Setup, world: int, number: int):
    head = build_model(setup).cls_head
    alone = with_gradient(head.text_features)
    alone()
    for _ in range(number):
        yield (dict(cpu=slowest_rank(head, world)),
               dict(cpu=measure.seconds(alone)['cpu']))


def slowest_rank(head: VitaCLIPTextHead, world: int) -> float:
    """CPU seconds of the text's part in a training step, of the rank that took most."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(on_rank, (world, folder, head), nprocs=world)
        return max(float(Path(folder, str(rank)).read_text()) for rank in range(world))


def on_rank(rank: int, world: int, folder: str, head: VitaCLIPTextHead) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    head.share_classes(True)
    call = with_gradient(head.text_features)
    call()
    torch.distributed.barrier()
    Path(folder, str(rank)).write_text(str(measure.seconds(call)['cpu']))
    torch.distributed.destroy_process_group()


# Precision


def precision(setup: Setup) -> Iterator[Comparison | Facts]:
    if not measure.has_bfloat16():
        raise NotHere('this processor has no instructions for bfloat16')
    if torch.cuda.is_available():
        raise NotHere('here training uses the GPU: see the part gpu')
    name = setup.opponent
    yield Comparison('precision', f'{STEP}, bfloat16', name, side_by_side(
        partial(steps, setup, name, bfloat16=True)))
    yield Comparison('precision', f'{EVALUATION}, bfloat16', name, side_by_side(
        partial(evaluations, setup, name, bfloat16=True)))
    yield Facts('precision', 'bfloat16 against float32, 16 random clips',
                partial(accuracy_cost, setup))


def accuracy_cost(setup: Setup) -> Figures:
    """How far the probabilities of classes move in bfloat16."""
    model = build_model(setup)
    exact, rounded = (our_evaluation(model, clips=16, bfloat16=bfloat16)().float()
                      for bfloat16 in (False, True))
    difference = (exact - rounded).abs()
    same = exact.argmax(dim=1) == rounded.argmax(dim=1)
    return {'largest difference of a probability': difference.max().item(),
            'mean difference': difference.mean().item(),
            'largest probability': exact.max().item(),
            'share of equal top-1': same.float().mean().item()}


# Distance to the limit


def matmul(setup: Setup) -> Iterator[Comparison | Facts]:
    for what, make, mode in ((VISION, our_vision, without_gradient),
                             (STEP, our_plain_step, lambda call: call)):
        yield Comparison('matmul', what, MATRIX,
                         partial(against_matmul, setup, make, mode))
        yield Facts('matmul', what, partial(operations, setup, make))
    yield Facts('matmul', f'{VISION}: share of CPU time', partial(vision_profile, setup))


def vision_profile(setup: Setup) -> Figures:
    return measure.operator_shares(without_gradient(our_vision(setup)))


def our_vision(setup: Setup):
    model = build_model(setup)
    return partial(model.backbone, normalised(model, make_batch(model, CLIPS))[:, 0])


def our_plain_step(setup: Setup):
    return our_step(build_model(setup), CLIPS)


def against_matmul(setup: Setup, make: Callable, mode: Callable, number: int):
    """What a call took, and what its operations take in matrix products alone."""
    call = make(setup)
    flops = measure.count_flops(call)
    product = matrix_product(setup)
    timed = mode(call)
    timed()
    for _ in range(number):
        yield measure.seconds(timed), product.repeat(flops)


def operations(setup: Setup, make: Callable) -> Figures:
    return {'GFLOP of matrix products': measure.count_flops(make(setup)) / 1e9}


def matrix_product(setup: Setup, clips: int = 1, dtype: torch.dtype = torch.float32
                   ) -> measure.MatrixProduct:
    """Of the tokens of clips by the first matrix of a vision layer's FFN."""
    model = build_model(setup)
    tokens, width = model.cls_head.clip.model.visual.positional_embedding.shape
    return measure.MatrixProduct(clips * model.backbone.num_frames * tokens, width,
                                 setup.device, dtype)


PARTS = dict(step=step, eval=evaluation, text=text, vision=vision, memory=memory,
             data=data, ranks=ranks, precision=precision, matmul=matmul)
