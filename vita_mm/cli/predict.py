"""Predict what happens in videos.

    python tools/predict.py VIDEO... --checkpoint CHECKPOINT
    python tools/predict.py VIDEO... --checkpoint CHECKPOINT --classes "surfing, juggling"

Without classes: the likeliest of those that the checkpoint was trained on. With classes:
zero-shot. Exit code 2 if a video could not be read; the others are predicted.
"""
import argparse
import json
import sys
from pathlib import Path

LABELS = Path(__file__).resolve().parents[1] / 'labels' / 'classes'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', nargs='+', metavar='VIDEO')
    parser.add_argument('--checkpoint', required=True)
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument('--classes', help='names, with commas between them',
                         type=lambda text: [name.strip() for name in text.split(',')])
    classes.add_argument('--classes-file', help='a file with a name per line')
    classes.add_argument('--dataset', dest='classes',
                         choices=sorted(file.stem for file in LABELS.glob('*.csv')),
                         help='the classes of this dataset')
    parser.add_argument('--templates', help='manual prompt with {} for the class, or '
                        'the name of a list; default: {}')
    parser.add_argument('--topk', type=int, default=5)
    parser.add_argument('--config', help='where the checkpoint does not describe itself')
    parser.add_argument('--clip', help='the file of the CLIP weights')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', action='store_true', help='print JSON')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.templates is not None and not (args.classes or args.classes_file):
        parser.error('--templates are for classes of yours: give --classes, '
                     '--classes-file or --dataset')
    if args.topk < 1:
        parser.error(f'--topk must be at least 1, not {args.topk}')


def main(args: argparse.Namespace) -> int:
    from mmengine.logging import MMLogger
    from vita_mm.labels.class_names import read_file
    if args.classes_file is not None:
        args.classes = read_file(args.classes_file)
    # MMEngine logs to stdout, which is for the predictions alone.
    for handler in MMLogger.get_current_instance().handlers:
        handler.setStream(sys.stderr)
    found, failed = predict(args)
    if args.json:
        print(json.dumps(found, indent=1))
    elif found:
        print_table(found)
    return 2 if failed else 0


def predict(args: argparse.Namespace) -> tuple[list[dict], int]:
    """The predictions, and how many videos could not be read."""
    from vita_mm.errors import UserError
    from vita_mm.inference import Predictor
    predictor = Predictor(args.checkpoint, args.classes, args.templates or '{}',
                          args.config, args.clip, args.device)
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
