"""All zero-shot results of a model, beside frozen CLIP under the same protocol.

    vita-mm zero-shot CONFIG CHECKPOINT [--protocol paper|mini]
    vita-mm zero-shot CONFIG CHECKPOINT --gpus 8

CONFIG is the one that CHECKPOINT was trained with, a file or a work dir, whose last
weights count; for frozen CLIP alone, CHECKPOINT is `none`. Each dataset is read once for
each model, whatever the number of prompts and splits. Writes results.json into the work
dir; --resume goes on after an interruption.
"""
import argparse
import csv
import os
from pathlib import Path

from .arguments import add_common_arguments, add_trust_argument

PROTOCOLS = Path(__file__).resolve().parents[1] / 'labels' / 'protocols.csv'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    with PROTOCOLS.open(encoding='utf-8') as lines:
        protocols = dict.fromkeys(row['protocol'] for row in csv.DictReader(lines))
    parser.add_argument('config', help='of the trained model')
    parser.add_argument('checkpoint')
    parser.add_argument('--protocol', '--suite', choices=protocols, default='paper',
                        help='which datasets (default: paper)')
    parser.add_argument('--datasets', nargs='+', metavar='NAME',
                        help='only these of the protocol')
    parser.add_argument('--long-clips', nargs='+', choices=('frame_windows', 'tile'),
                        help='how 32 frames are read by a Vita-CLIP of 8 (default: both)')
    parser.add_argument('--names', metavar='COLUMN',
                        help='of the lists of classes that have it, such as folder of '
                        'ucf101 (ApplyEyeMakeup); default: name (Apply Eye Makeup)')
    parser.add_argument('--resume', action='store_true',
                        help='keep the finished evaluations of an earlier call')
    add_trust_argument(parser)
    add_common_arguments(parser)


def main(args: argparse.Namespace) -> None:
    # Late, for they take seconds: --help does not wait for them.
    import torch.distributed
    from mmengine.registry import init_default_scope

    from vita_mm.engine.runs import default_work_dir
    from vita_mm.harness.beside import compare, read_trained, zero_shot
    from vita_mm.io.digests import TRUST

    if args.trust_data:
        os.environ[TRUST] = '1'
    init_default_scope('mmaction')
    of_model = {key: value for key, value in args.cfg_options.items()
                if key.split('.')[0] == 'model'}
    of_data = {key: value for key, value in args.cfg_options.items()
               if key not in of_model}
    trained = read_trained('zero-shot', args.config, args.checkpoint, of_model)
    passes = zero_shot(args.protocol, trained, args.datasets, args.long_clips, of_data,
                       args.names)
    below = Path(default_work_dir(args.config)).relative_to('work_dirs')
    compare(passes, [trained], args.work_dir or f'work_dirs/zero_shot/{below}',
            'zero_shot', args.resume, args.launcher)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
