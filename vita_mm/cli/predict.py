"""Predict what happens in videos.

    vita-mm predict VIDEO... --checkpoint CHECKPOINT
    vita-mm predict VIDEO... --checkpoint CHECKPOINT --classes "surfing, juggling"
    vita-mm predict VIDEO... --system frozen_clip --classes "surfing, juggling"

Without classes: the likeliest of those that the checkpoint was trained on. With classes:
zero-shot. Frozen CLIP needs no checkpoint: it is OpenAI's ViT-B/16, or what --clip says.
Exit code 2 if a video could not be read; the others are predicted.
"""
import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

LABELS = Path(__file__).resolve().parents[1] / 'labels' / 'classes'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', nargs='+', metavar='VIDEO')
    parser.add_argument('--checkpoint', help='a file, or a work dir, whose last weights '
                        'count')
    parser.add_argument('--system', help='in place of a checkpoint: one of which nothing '
                        'is trained, which is frozen_clip')
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument('--classes', help='names, with commas between them',
                         type=lambda text: [name.strip() for name in text.split(',')])
    classes.add_argument('--classes-file', help='a file with a name per line')
    classes.add_argument('--dataset', dest='classes',
                         choices=sorted(file.stem for file in LABELS.glob('*.csv')),
                         help='the classes of this dataset')
    parser.add_argument('--templates', help='manual prompt with {} for the class, or '
                        'the name of a list; default: as the checkpoint was trained, '
                        'else {}')
    parser.add_argument('--topk', type=int, default=5)
    parser.add_argument('--config', help='where the checkpoint does not describe itself')
    parser.add_argument('--clip', help='the CLIP weights: FILE, or ARCH:WEIGHTS such as '
                        'ViT-B-16:openai')
    parser.add_argument('--frames', type=int, help='that are seen of a video, with '
                        '--system; default: 8')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', action='store_true', help='print JSON')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.templates is not None and not (args.classes or args.classes_file):
        parser.error('--templates are for classes of yours: give --classes, '
                     '--classes-file or --dataset')
    if args.topk < 1:
        parser.error(f'--topk must be at least 1, not {args.topk}')
    if args.system is None and args.checkpoint is None and args.config is None:
        parser.error('there is no model: give --checkpoint, or --system frozen_clip with '
                     '--classes')
    if args.system is not None and (args.checkpoint or args.config):
        parser.error('--system is in place of --checkpoint and --config')
    if args.frames is not None and (args.system is None or args.frames < 1):
        parser.error('--frames is a number of at least 1, with --system')


def main(args: argparse.Namespace) -> int:
    from vita_mm.labels.class_names import read_file
    if args.classes_file is not None:
        args.classes = read_file(args.classes_file)
    with log_to_stderr():
        found, failed = predict(args)
    if args.json:
        print(json.dumps(found, indent=1))
    elif found:
        print_table(found)
    return 2 if failed else 0


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """MMEngine logs to stdout, which is for the predictions alone."""
    from mmengine.logging import MMLogger
    handlers = [handler for handler in MMLogger.get_current_instance().handlers
                if isinstance(handler, logging.StreamHandler)
                and not isinstance(handler, logging.FileHandler)]
    before = [handler.stream for handler in handlers]
    try:
        for handler in handlers:
            handler.stream = sys.stderr
        yield
    finally:
        for handler, stream in zip(handlers, before):
            handler.stream = stream


def predict(args: argparse.Namespace) -> tuple[list[dict], int]:
    """The predictions, and how many videos could not be read."""
    from vita_mm.errors import UserError
    from vita_mm.inference import NUM_FRAMES, Predictor
    predictor = Predictor(
        args.checkpoint, args.classes, args.templates, args.config, args.clip,
        args.device, args.system, args.frames or NUM_FRAMES)
    found, failed = [], 0
    for video in args.videos:
        try:
            scores = predictor(video)[:args.topk]
        except UserError as error:
            print(f'error: {error}', file=sys.stderr, flush=True)
            failed += 1
        else:
            found.append(dict(video=video, predictions=[
                {'class': name, 'score': score} for name, score in scores]))
    return found, failed


def print_table(found: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table
    table = Table('video', 'class', 'probability')
    for row in found:
        for place, prediction in enumerate(row['predictions']):
            table.add_row('' if place else row['video'], prediction['class'],
                          f'{prediction["score"]:.3f}')
        table.add_section()
    Console().print(table)
