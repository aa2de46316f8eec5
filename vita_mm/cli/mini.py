"""Make the miniature benchmark: real video files and a small CLIP.

    vita-mm mini [--root data/mini] [--seed 0]
"""
import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--root', default='data/mini', help='where (%(default)s)')
    parser.add_argument('--seed', type=int, default=0)


def main(args: argparse.Namespace) -> None:
    from vita_mm.mini import build
    print(f'the miniature benchmark is in {build(args.root, args.seed)}')
