"""How fast Vita-CLIP is here, side by side with what the authors released.

    python benchmarks/speed.py                    against the written-out baseline
    python benchmarks/speed.py --released DIR     against a checkout of the released code
    python benchmarks/speed.py --only step eval   some of the parts: {parts}

ViT-B/16, random weights, class-specific contexts of 8 vectors, 8 frames, 8 global
prompts. Interrupt it at any moment and start it again: every pair that was measured
with the same code, options and machine is kept. Everything is under
benchmarks/results/speed. A training step of the released code on 400 classes takes
about 22 GiB of memory.
"""
import argparse
import signal
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

import speed_gpu
import speed_parts
from speed_measure import release_memory
from speed_models import CLASSES, Setup, forget
from speed_parts import Comparison, Facts, NotHere
from speed_released import load_code
from speed_report import Results, describe_machine, find_stamp
from vita_mm.classes import read_classes
from vita_mm.errors import UserError, cli_errors
from vita_mm.models.clip import read_architecture

PARTS = speed_parts.PARTS | dict(gpu=speed_gpu.gpu)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.format(parts=', '.join(PARTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--released', type=Path, metavar='DIR',
                        help='a checkout of the released code')
    parser.add_argument('--only', nargs='+', metavar='PART', default=list(PARTS))
    parser.add_argument('--pairs', type=int, default=5, help='of each comparison')
    parser.add_argument('--threads', type=int, default=1, help='of torch')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/results/speed'))
    parser.add_argument('--again', action='store_true',
                        help='measure again what is there')
    parser.add_argument('--arch', default='ViT-B-16-quickgelu',
                        help="open_clip's name or a .json file, for small trials")
    parser.add_argument('--classes', type=int, default=len(read_classes(CLASSES)),
                        help="the first so many of Kinetics-400's, for small trials")
    args = parser.parse_args()
    for name in ('pairs', 'threads'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} is at least 1')
    if not 5 <= args.classes <= len(read_classes(CLASSES)):
        raise UserError(f'--classes is from 5 to {len(read_classes(CLASSES))}')
    unknown = [part for part in args.only if part not in PARTS]
    if unknown:
        raise UserError(f'--only: there is no part {unknown[0]!r}; the parts are '
                        + ', '.join(PARTS))
    if not read_architecture(args.arch).get('quick_gelu'):
        raise UserError(f'--arch {args.arch}: the released code has QuickGELU only, '
                        'take an architecture with it')
    if args.released:
        load_code(args.released)
    return args


def measure_part(name: str, setup: Setup, results: Results, pairs: int,
                 progress: Progress) -> None:
    try:
        items = list(PARTS[name](setup))
    except NotHere as reason:
        progress.print(f'{name}: not measured, {reason}')
        return
    task = progress.add_task(name, total=len(items))
    for item in items:
        against = f' against {item.opponent}' if isinstance(item, Comparison) else ''
        progress.update(task, description=f'{name}: {item.what}{against}')
        try:
            measure_item(item, results, pairs)
        except UserError as error:
            progress.print(f'{name}: {item.what}{against}: {error}')
        progress.advance(task)
    forget()
    release_memory()


def measure_item(item: Comparison | Facts, results: Results, pairs: int) -> None:
    """Measure what is missing."""
    if isinstance(item, Facts):
        if results.find(item.part, item.what) is None:
            results.add_facts(item, item.find())
        return
    wanted = min(pairs, item.enough or pairs)
    missing = wanted - results.pairs_of(item)
    if missing > 0:
        for ours, opponent in item.pairs(missing):
            results.add_pair(item, ours, opponent)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    setup = Setup(args.arch, args.classes, args.threads, args.released)
    results = Results(args.out / 'speed.json', find_stamp(setup),
                      describe_machine(setup), args.only if args.again else [])
    console = Console()
    with Progress(console=console, transient=True) as progress:
        for name in args.only:
            measure_part(name, setup, results, args.pairs, progress)
    results.save()
    results.print(console)
    console.print(f'{results.path}, {results.path.with_suffix(".md")}', soft_wrap=True)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main()
