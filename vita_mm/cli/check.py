"""Open every video of a config's datasets and say which cannot be read.

    vita-mm check CONFIG [--parts train val test] [--workers N] [--timeout SECONDS]
                         [--full] [--lenient] [--out DIR]

Interrupted, it goes on where it stopped. The report of an annotation file ANN is
ANN.check.json: beside it, in DIR, or in work_dirs/check if the folder of ANN cannot be
written. Exit code: 0 if all videos can be read, 1 if some cannot.
"""
import argparse

from .arguments import add_config_options, positive

PARTS = ('train', 'val', 'test')
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--workers', type=positive(int), metavar='N',
                        help='processes that open videos; as many as cores by default')
    parser.add_argument('--timeout', type=positive(float), default=60, metavar='SECONDS',
                        help='after which a video counts as hanging (%(default)s)')
    parser.add_argument('--full', action='store_true',
                        help='decode every frame, not the first, middle and last')
    parser.add_argument('--lenient', action='store_true',
                        help='take damaged videos whose damage the decoder conceals, as '
                        'a config does that reads them with strict=False')
    parser.add_argument('--out', metavar='DIR', help='where the reports go')
    add_config_options(parser,
                       help='overrides, such as test_dataloader.dataset.ann_file=X')
    parser.set_defaults(launcher='none', work_dir=None)  # what read_config asks for


def show(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from vita_mm.data.check import FAULTS
    from vita_mm.errors import printable
    table = Table(title=Text(printable(' '.join(report['annotations']))))
    columns = ('videos', 'readable', *FAULTS, 'short')
    for column in columns:
        table.add_column(column, justify='right')
    table.add_row(*(str(report[column]) for column in columns))
    Console().print(table)
    for fault in report['faults'][:SHOWN]:
        print(printable(f'{fault["path"]}: {fault["fault"]} ({fault["reason"]})'))
    if len(report['faults']) > SHOWN:
        print(f'and {len(report["faults"]) - SHOWN} more')
    print(printable(f'the report is in {report["file"]}'))


def main(args: argparse.Namespace) -> int:
    from vita_mm.data.check import check_dataset, find_datasets
    from vita_mm.engine.runs import read_config
    reports = []
    for dataset in find_datasets(read_config(args), args.parts):
        reports.append(check_dataset(dataset, args.full, args.workers, args.timeout,
                                     lenient=args.lenient, out=args.out))
        show(reports[-1])
    return int(any(report['faults'] for report in reports))
