"""Make the miniature benchmark: real video files and a small CLIP.

    python tools/make_mini.py [--root data/mini] [--seed 0]
"""
import argparse
import signal


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--root', default='data/mini')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from vita_mm.mini import build
    print(f'the miniature benchmark is in {build(args.root, args.seed)}')


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
