"""Train a recognizer.

    vita-mm train CONFIG
    vita-mm train CONFIG --gpus 8
"""
import argparse

from .arguments import add_common_arguments, add_variant_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint; without a path, from the '
                        'newest whole one in the work dir, if there is one')
    parser.add_argument('--change', nargs='+', default=[], metavar='KEY',
                        help='with --resume: what is meant to differ from the recipe '
                        'that was trained so far, such as train_cfg.max_epochs')
    parser.add_argument('--amp', action='store_true',
                        help='mixed precision: autocast to bfloat16')
    parser.add_argument('--no-validate', action='store_true')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the real batch size')
    parser.add_argument('--seed', type=int)
    add_common_arguments(parser)
    add_variant_arguments(parser, trains=True)


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.change and not args.resume:
        parser.error('--change says what differs from what is resumed: it needs --resume')


def main(args: argparse.Namespace) -> None:
    import torch.distributed

    from vita_mm.engine.recipe import prepare_work_dir
    from vita_mm.engine.runs import build_runner, read_config
    from vita_mm.systems import check_verb, find_system
    from vita_mm.tracking import guard

    config = read_config(args)
    system = find_system(config.get('model') or {})
    if system is not None:
        check_verb('train', system)
    if args.amp:
        config.precision = 'bfloat16'
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.auto_scale_lr:
        config.auto_scale_lr.enable = True
    if args.seed is not None:
        config.randomness.seed = args.seed
    # The lock is held until the training ends.
    _lock, notes = prepare_work_dir(config, args.resume, args.change)
    runner = build_runner(config)
    for note in notes:
        runner.logger.warning(note)
    with guard(runner):
        runner.train()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
