"""Open every video of a config's datasets and say which cannot be read.

    python tools/check_dataset.py CONFIG [--parts train val test] [--workers N]
                                  [--timeout SECONDS] [--full]

Interrupted, it goes on where it stopped. The report of an annotation file ANN is
ANN.check.json. Exit code: 0 if all videos can be read, 1 if some cannot.
"""
import argparse
import signal
import sys

from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vita_mm.data.check import (FAULTS, PARTS, TIMEOUT, check_dataset, find_datasets,
                                report_stem)
from vita_mm.engine.runs import read_config
from vita_mm.errors import cli_errors

SHOWN = 20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--workers', type=positive(int), metavar='N',
                        help='processes that open videos; as many as cores by default')
    parser.add_argument('--timeout', type=positive(float), default=TIMEOUT,
                        metavar='SECONDS', help='after which a video counts as hanging '
                        '(%(default)s)')
    parser.add_argument('--full', action='store_true',
                        help='decode every frame, not the first, middle and last')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={},
                        help='overrides, such as test_dataloader.dataset.ann_file=X')
    parser.set_defaults(launcher='none', work_dir=None)  # what read_config asks for
    return parser.parse_args()


def positive(kind: type):
    """A type of arguments: numbers above zero."""
    def convert(text: str):
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f'{text} is not above zero')
        return number
    convert.__name__ = kind.__name__  # argparse names it where kind() fails
    return convert


def show(report: dict) -> None:
    stem = report_stem(report['annotations'])
    table = Table(title=Text(stem))
    columns = ('videos', 'readable', *FAULTS, 'short')
    for column in columns:
        table.add_column(column, justify='right')
    table.add_row(*(str(report[column]) for column in columns))
    Console().print(table)
    for fault in report['faults'][:SHOWN]:
        print(f'{fault["path"]}: {fault["fault"]} ({fault["reason"]})')
    if len(report['faults']) > SHOWN:
        print(f'and {len(report["faults"]) - SHOWN} more')
    print(f'the report is in {stem}.check.json')


def main() -> int:
    args = parse_args()
    reports = []
    for dataset in find_datasets(read_config(args), args.parts):
        reports.append(check_dataset(dataset, args.full, args.workers, args.timeout))
        show(reports[-1])
    return int(any(report['faults'] for report in reports))


if __name__ == '__main__':
    # As on Ctrl-C, so that no process stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        sys.exit(main())
