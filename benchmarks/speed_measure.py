"""Measuring side by side: interleaved pairs, peak memory, operations, matmul rate."""
import ctypes
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)
from vita_mm.io.processes import die_with_parent
from vita_mm.errors import UserError
from vita_mm.models.common import layers

Call = Callable[[], object]
Figures = dict[str, float]


def interleave(ours: Call, opponent: Call, pairs: int
               ) -> Iterator[tuple[Figures, Figures]]:
    """Seconds of both, measured in turn: ours, opponent, ours, opponent ...

    Ours is called once before, for it has caches to fill; the opponents have none.
    """
    release_memory()
    ours()
    for _ in range(pairs):
        yield seconds(ours), seconds(opponent)


def seconds(call: Call) -> Figures:
    """CPU seconds (of all threads of this process) and wall seconds of a call."""
    synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    synchronize()
    return dict(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def summarize(ours: list[float], opponent: list[float], least: bool = True
              ) -> dict[str, float]:
    """Median, least and largest ratio of the pairs, and the median of each side.

    Args:
        least: whether the ratio is to be large, opponent / ours; else it is
            ours / opponent.
    """
    ratios = [other / own if least else own / other
              for own, other in zip(ours, opponent, strict=True)]
    return dict(ratio=statistics.median(ratios), low=min(ratios), high=max(ratios),
                ours=statistics.median(ours), opponent=statistics.median(opponent))


# Memory


def release_memory() -> None:
    """Give freed memory back to the system, where the C library is able to."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def peak_memory(call: Call) -> int:
    """Bytes of resident memory that a call takes at its peak, beyond those before."""
    release_memory()
    Path('/proc/self/clear_refs').write_text('5')  # the peak starts again from here
    before = resident('VmRSS')
    call()
    return resident('VmHWM') - before


def resident(name: str) -> int:
    """Bytes: ``VmRSS`` now, ``VmHWM`` at the peak."""
    lines = Path('/proc/self/status').read_text().splitlines()
    line = next(line for line in lines if line.startswith(f'{name}:'))
    return int(line.split()[1]) * 1024


def in_new_process(function: Callable, *args):
    """What ``function(*args)`` returns in a process of its own.

    Raises:
        UserError: if the process is killed.
    """
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, context, die_with_parent) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool:
            raise UserError('a process that measures was killed, most likely for lack '
                            'of memory: free some, or give fewer --classes') from None


# Operations


def linear_flops(x: tuple, weight: tuple, *_, out_shape=None, **__) -> int:
    *rows, columns = x
    return 2 * torch.Size(rows).numel() * columns * weight[0]


def sdpa_flops(q: tuple, k: tuple, v: tuple, *_, out_shape=None, **__) -> int:
    return sdpa_flop_count(q, k, v)


def sdpa_backward_flops(grad: tuple, q: tuple, k: tuple, v: tuple, *_, out_shape=None,
                        **__) -> int:
    return sdpa_backward_flop_count(grad, q, k, v)


# What FlopCounterMode (torch 2.13) does not know: operators of CPUs.
MORE_OPERATORS = {
    torch.ops.mkldnn._linear_pointwise: linear_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        sdpa_backward_flops}


def count_flops(call: Call) -> int:
    """Floating-point operations of the matrix products of a call."""
    with FlopCounterMode(display=False, custom_mapping=MORE_OPERATORS) as counter:
        call()
    return counter.get_total_flops()


def operator_shares(call: Call, most: int = 8) -> Figures:
    """The shares of a call's CPU time that its ``most`` most costly operators take."""
    call()
    with torch.profiler.profile() as profile:
        call()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(times.values())
    return {name: times[name] / total
            for name in sorted(times, key=times.__getitem__, reverse=True)[:most]}


class MatrixProduct:
    """The product that dominates a vision layer: hidden tokens of the FFN, (N, 4D),
    times its second matrix. The result is small: no time goes into fetching memory.

    It is taken in the faster of the two ways there are: torch's own matrix product and,
    in float32 on a CPU, oneDNN's.

    Args:
        tokens, width: N and D.
    """

    def __init__(self, tokens: int, width: int, device: str = 'cpu',
                 dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x, self.weight = (
            torch.randn(rows, 4 * width, generator=generator).to(device, dtype)
            for rows in (tokens, width))
        self.out = self.x.new_empty(tokens, width)
        self.flops = 2 * tokens * 4 * width * width
        self.way = min((self.by_torch, self.by_layer), key=lambda way: min(
            seconds(way)['wall'] for _ in range(4)))

    def by_torch(self) -> Tensor:
        return torch.mm(self.x, self.weight.T, out=self.out)

    @torch.no_grad()
    def by_layer(self) -> Tensor:
        return layers.linear(self.x, self.weight)

    def repeat(self, flops: float) -> Figures:
        """Seconds that ``flops`` operations take in such products alone."""
        times = max(1, round(flops / self.flops))
        took = seconds(lambda: [self.way() for _ in range(times)])
        return {clock: value * flops / (times * self.flops)
                for clock, value in took.items()}


# Machine


def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16."""
    try:
        flags = Path('/proc/cpuinfo').read_text().split()
    except OSError:
        return False
    return bool({'avx512_bf16', 'amx_bf16'} & set(flags))


def main_memory() -> int:
    """Bytes of main memory."""
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
