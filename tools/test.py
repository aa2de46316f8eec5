"""Evaluate a checkpoint.

    python tools/test.py CONFIG CHECKPOINT
    tools/dist_test.sh CONFIG CHECKPOINT NUM_GPUS

CHECKPOINT may be a work dir, which means its last whole weights, or `none` for a model
that has no trained tensors: frozen CLIP.
"""
import argparse
import signal

from arguments import add_common_arguments, add_variant_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--dump', help='write the predictions to this .pkl file')
    add_common_arguments(parser)
    add_variant_arguments(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    # Late, for they take seconds: --help does not wait for them.
    import torch.distributed
    from vita_mm.engine.runs import evaluate, read_config
    from vita_mm.io.checkpoints import find_checkpoint, read_tensors

    config = read_config(args)
    checkpoint = None
    if args.checkpoint != 'none':
        checkpoint = str(find_checkpoint(args.checkpoint))
        read_tensors(checkpoint)
    if args.dump:
        config.test_evaluator = [config.test_evaluator,
                                 dict(type='DumpResults', out_file_path=args.dump)]
    evaluate(config, checkpoint)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
