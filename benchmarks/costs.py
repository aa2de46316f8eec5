"""What the systems of Tables 1 and 5 cost, by one method, beside what is published.

    python benchmarks/costs.py [--out benchmarks/results/costs.md]

What is counted, and how, is said in costs_count.py and below the table.
"""
import argparse
import signal
from pathlib import Path

OUT = Path(__file__).resolve().with_name('results') / 'costs.md'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=OUT)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from costs_count import SYSTEMS, count, report
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.progress import track
    rows = [(system, count(system)) for system in track(SYSTEMS, 'systems')]
    text = report(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    Console().print(Markdown(text))
    print(f'written to {args.out}')


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
