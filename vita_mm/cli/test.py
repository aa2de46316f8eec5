"""Evaluate a checkpoint.

    vita-mm test CONFIG CHECKPOINT
    vita-mm test CONFIG CHECKPOINT --gpus 8

CHECKPOINT may be a work dir, which means its last whole weights, or `none` for a model
that has no trained tensors: frozen CLIP.
"""
import argparse

from .arguments import add_common_arguments, add_variant_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--dump', help='write the predictions to this .pkl file')
    add_common_arguments(parser)
    add_variant_arguments(parser)


def main(args: argparse.Namespace) -> None:
    import torch.distributed

    from vita_mm.engine.runs import evaluate, keep_trained_pixels, read_config
    from vita_mm.io.checkpoints import find_checkpoint, read_tensors

    config = read_config(args)
    checkpoint = None
    if args.checkpoint != 'none':
        checkpoint = str(find_checkpoint(args.checkpoint))
        keep_trained_pixels(config, read_tensors(checkpoint), args.cfg_options)
    if args.dump:
        config.test_evaluator = [config.test_evaluator,
                                 dict(type='DumpResults', out_file_path=args.dump)]
    evaluate(config, checkpoint)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
