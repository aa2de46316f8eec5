"""Train a recognizer.

    python tools/train.py CONFIG
    tools/dist_train.sh CONFIG NUM_GPUS
"""
import argparse
import signal

import torch.distributed

import vita_mm
from vita_mm.checkpoints import newest_whole_checkpoint, read_tensors
from vita_mm.engine.runs import add_common_arguments, build_runner, read_config
from vita_mm.errors import cli_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('--resume', nargs='?', const='auto',
                        help='go on from this checkpoint; without a path, from the '
                        'newest whole one in the work dir, if there is one')
    parser.add_argument('--amp', action='store_true',
                        help='mixed precision: autocast to bfloat16')
    parser.add_argument('--no-validate', action='store_true')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the real batch size')
    parser.add_argument('--seed', type=int)
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = read_config(args)
    if args.resume:
        path = newest_whole_checkpoint(config.work_dir) if args.resume == 'auto' \
            else args.resume
        if path is not None:
            read_tensors(path)
            config.load_from, config.resume = str(path), True
    if args.amp:
        config.precision = 'bfloat16'
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.auto_scale_lr:
        config.auto_scale_lr.enable = True
    if args.seed is not None:
        config.randomness.seed = args.seed
    runner = build_runner(config)
    with vita_mm.tracking.guard(runner):
        runner.train()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    # torchrun and Slurm end a run by SIGTERM: as on Ctrl-C, the run says so first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main()
