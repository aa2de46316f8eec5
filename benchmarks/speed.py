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

PARTS = ('step', 'eval', 'text', 'vision', 'memory', 'data', 'ranks', 'precision',
         'matmul', 'gpu')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').format(parts=', '.join(PARTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--released', type=Path, metavar='DIR',
                        help='a checkout of the released code')
    parser.add_argument('--only', nargs='+', metavar='PART', default=PARTS)
    parser.add_argument('--pairs', type=int, default=5, help='of each comparison')
    parser.add_argument('--threads', type=int, default=1, help='of torch')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/results/speed'))
    parser.add_argument('--again', action='store_true',
                        help='measure again what is there')
    parser.add_argument('--arch', default='ViT-B-16-quickgelu',
                        help="open_clip's name or a .json file, for small trials")
    parser.add_argument('--classes', type=int, default=400,
                        help="the first so many of Kinetics-400's, for small trials")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from speed_run import run
    run(args)


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
