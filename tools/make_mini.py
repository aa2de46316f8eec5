"""Make the miniature benchmark: real video files and a small CLIP.

    python tools/make_mini.py [--root data/mini] [--seed 0]
"""
import argparse

from vita_mm.errors import cli_errors
from vita_mm.mini import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--root', default='data/mini')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    print(f'the miniature benchmark is in {build(args.root, args.seed)}')


if __name__ == '__main__':
    with cli_errors():
        main()
