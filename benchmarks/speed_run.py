"""What speed.py does."""
import argparse

import speed_gpu
import speed_parts
import torch
from rich.console import Console
from rich.progress import Progress
from speed_measure import release_memory
from speed_models import CLASSES, Setup, forget
from speed_parts import Comparison, Facts, NotHere
from speed_released import load_code
from speed_report import Results, describe_machine, find_stamp
from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes
from vita_mm.models.common.clip import read_architecture

PARTS = speed_parts.PARTS | dict(gpu=speed_gpu.gpu)


def run(args: argparse.Namespace) -> None:
    """Measure what is missing of the parts asked for, and print it.

    Raises:
        UserError: if an option cannot be used.
    """
    check(args)
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


def check(args: argparse.Namespace) -> None:
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
