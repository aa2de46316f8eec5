"""What speed.py measures on a GPU: ours in bfloat16, the opponents in float32."""
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import speed_measure as measure
import torch
from speed_measure import Figures
from speed_models import Setup, build_model, forget, our_step, their_step
from speed_parts import (
    EVALUATION,
    GPU_CLIPS,
    GPU_STEP,
    MATRIX,
    STEP,
    Comparison,
    Facts,
    NotHere,
    evaluations,
    matrix_product,
    side_by_side,
    steps,
)


def gpu(setup: Setup) -> Iterator[Comparison | Facts]:
    if not torch.cuda.is_available():
        raise NotHere('there is no GPU')
    setup = replace(setup, device='cuda')
    for compile in (False, True):
        how = 'bfloat16, compiled' if compile else 'bfloat16'
        name = setup.opponent
        for what, make in ((STEP, steps), (EVALUATION, evaluations)):
            yield Comparison('gpu', f'{what}, {how}', name, side_by_side(partial(
                make, setup, name, bfloat16=True, compile=compile)), 'wall')
        yield Comparison('gpu', f'{GPU_STEP}, {how}', MATRIX,
                         partial(model_flops_utilisation, setup, compile), 'wall')
    yield Facts('gpu', 'largest micro-batch of a training step',
                partial(largest_micro_batches, setup))


def model_flops_utilisation(setup: Setup, compile: bool, number: int):
    """As :func:`against_matmul`, for the training step in bfloat16."""
    # Compiled layers hide their operations from the counter.
    flops = measure.count_flops(our_step(build_model(setup), GPU_CLIPS, bfloat16=True))
    product = matrix_product(setup, GPU_CLIPS, torch.bfloat16)
    call = our_step(build_model(setup, compile=compile), GPU_CLIPS, bfloat16=True)
    call()
    for _ in range(number):
        yield measure.seconds(call), product.repeat(flops)


def largest_micro_batches(setup: Setup) -> Figures:
    makes = {f'ours, bfloat16{", checkpointing" if checkpointing else ""}': partial(
        lambda checkpointing, clips: our_step(
            build_model(setup, checkpointing=checkpointing), clips, bfloat16=True),
        checkpointing) for checkpointing in (False, True)}
    makes[setup.opponent] = partial(their_step, setup, setup.opponent)
    return {name: largest(partial(fits, make)) for name, make in makes.items()}


def fits(make: Callable, clips: int) -> bool:
    try:
        make(clips)()
        return True
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        forget()
        torch.cuda.empty_cache()


def largest(fits: Callable[[int], bool], most: int = 2048) -> int:
    """The largest number up to ``most`` that fits, to about 6 %; 0 if none does."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while low and high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
