"""Evaluate a checkpoint.

    python tools/test.py CONFIG CHECKPOINT
    tools/dist_test.sh CONFIG CHECKPOINT NUM_GPUS

CHECKPOINT may be `none` for a model that has no trained tensors: frozen CLIP.
"""
import argparse
import signal

import torch.distributed

from vita_mm.checkpoints import read_tensors
from vita_mm.engine.runs import add_common_arguments, evaluate, read_config
from vita_mm.errors import cli_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--dump', help='write the predictions to this .pkl file')
    add_common_arguments(parser)
    args = parser.parse_args()
    config = read_config(args)
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    if checkpoint:
        read_tensors(checkpoint)
    if args.dump:
        config.test_evaluator = [config.test_evaluator,
                                 dict(type='DumpResults', out_file_path=args.dump)]
    evaluate(config, checkpoint)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main()
