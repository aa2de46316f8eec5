"""All zero-shot results of a model, beside frozen CLIP under the same protocol.

    python tools/zero_shot.py CONFIG CHECKPOINT [--suite paper|mini]
    tools/dist_zero_shot.sh CONFIG CHECKPOINT NUM_GPUS [--suite paper|mini]

CONFIG is the one that CHECKPOINT was trained with, a file or a work dir, whose last
weights count; the datasets are those of configs/zero_shot. Each is read once for each
model, whatever the number of prompts and splits. Writes results.json into the work dir;
--resume goes on after an interruption.
"""
import argparse
import copy
import os
import signal
from pathlib import Path

from arguments import add_common_arguments

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
SUITES = dict(paper=['hmdb51', 'ucf101', 'k600', 'k600_val'],
              mini=['mini_hmdb51', 'mini_ucf101', 'mini_k600'])
FROZEN = 'frozen CLIP'
READINGS = ('frame_windows', 'tile')
NAMES = {FROZEN: FROZEN, 'frame_windows': 'Vita-CLIP', 'tile': 'Vita-CLIP, tile'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config', help='of the trained model')
    parser.add_argument('checkpoint')
    parser.add_argument('--suite', choices=SUITES, default='paper')
    parser.add_argument('--datasets', nargs='+', metavar='NAME',
                        help='only these of the suite')
    parser.add_argument('--long-clips', nargs='+', choices=READINGS, default=READINGS,
                        help='how 32 frames are read by a model of 8 (default: both)')
    parser.add_argument('--resume', action='store_true',
                        help='keep the finished evaluations of an earlier call')
    parser.add_argument('--trust-data', action='store_true',
                        help='do not read the videos to see whether they have changed: '
                        'their sizes and times tell')
    add_common_arguments(parser)
    args = parser.parse_args()
    unknown = set(args.datasets or ()) - set(SUITES[args.suite])
    if unknown:
        parser.error(f'the suite {args.suite} has no dataset {sorted(unknown)[0]!r}; '
                     'it has ' + ', '.join(SUITES[args.suite]))
    return args


def evaluation_config(dataset: str, reading: str | None, trained,
                      args: argparse.Namespace):
    """The config of one pass: a dataset's, with the trained model or frozen CLIP.

    Args:
        reading: one of ``READINGS``; None for frozen CLIP.
    """
    from mmengine.config import Config
    from vita_mm.engine.runs import read_config, use_trained_model
    from vita_mm.engine.variants import find_dataset

    args = argparse.Namespace(**vars(args))
    args.config, split = find_dataset(dataset)
    args.variants = dict(split=split)
    config = read_config(args)
    use_trained_model(config, trained)
    if reading is None:
        frozen = Config.fromfile(CONFIGS / 'frozen_clip' / 'k400.py')
        config.model.backbone.update(frozen.model.backbone)
    else:
        config.model.backbone.long_clips = reading
    config.log_level = 'WARNING'
    config.experiment_name = f'{dataset} {reading or FROZEN}'
    config.work_dir = os.path.join(
        trained.work_dir, dataset, reading or FROZEN.replace(' ', '_'))
    return config


def finished(config, key: str) -> dict | None:
    """The metrics of the same evaluation in an earlier call."""
    from vita_mm.io.files import read_json

    result = read_json(Path(config.work_dir, 'result.json')) or {}
    return result['metrics'] if result.get('key') == key else None


def evaluation_key(config, checkpoint: str | None) -> str:
    """What the result depends on: model, code, data, weights.

    Raises:
        UserError: if the annotations of the dataset have a fault.
    """
    from vita_mm.engine.runs import keep_test_only
    from vita_mm.errors import UserError
    from vita_mm.harness.run.inputs import Inputs, identity
    from vita_mm.io.digests import digest_file

    config = copy.deepcopy(config)
    keep_test_only(config)
    inputs = Inputs().of(config)
    if inputs['missing']:
        raise UserError(inputs['missing'])
    return identity(inputs, checkpoint and digest_file(checkpoint))


def rows_of(dataset: str, reading: str | None, config, metrics: dict
            ) -> list[dict]:
    """One row of the results for each set of prompts."""
    rows = []
    for prompts in config.test_cfg.prompts:
        found = {key.removeprefix(f'{prompts}/acc/'): value
                 for key, value in metrics.items() if key.startswith(f'{prompts}/')}
        splits = [{key: found[f'split{number}_{key}']
                   for key in ('top1', 'top5', 'videos_read', 'videos_unreadable')}
                  for number in (1, 2, 3)]
        rows.append(dict(
            dataset=dataset, prompts=prompts, model=reading or FROZEN, splits=splits,
            **{key: found[key] for key in ('top1', 'top1_std', 'top5', 'top5_std',
                                           'videos_read', 'videos_unreadable')}))
    return rows


def make_table(rows: list[dict], chosen: str | None):
    """
    Args:
        chosen: how the weights were, if they are not the last of a training.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table('dataset', 'prompts', 'model', '1', '2', '3', 'mean ± std', 'videos',
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
                  title='zero-shot top-1 accuracy (%) on three splits; ± is their '
                        'standard deviation (ddof=0)',
                  caption=chosen and escape(f"Vita-CLIP's weights are the {chosen}"))
    for column in table.columns:
        column.no_wrap = True
    place = {row['dataset']: index for index, row in reversed(list(enumerate(rows)))}
    before = None
    for row in sorted(rows, key=lambda row: (place[row['dataset']], row['prompts'])):
        group = (row['dataset'], row['prompts'])
        lost = row['videos_unreadable']
        table.add_row(
            *(group if group != before else ('', '')),
            NAMES[row['model']] + (', best' if chosen and row['model'] != FROZEN else ''),
            *(f'{100 * split["top1"]:.1f}' for split in row['splits']),
            f'{100 * row["top1"]:.1f} ± {100 * row["top1_std"]:.1f}',
            str(row['videos_read']) + (f', {lost} unreadable' if lost else ''))
        before = group
    return table


def start_parent(trained, args: argparse.Namespace):
    from vita_mm.io.digests import digest_file
    from vita_mm.tracking import MLflowTracking

    backend = MLflowTracking(trained.work_dir)
    backend.start('zero_shot', trained.work_dir, args.resume,
                  f'zero-shot {args.suite} {Path(args.checkpoint).name}')
    backend.add_params(dict(config=args.config, checkpoint=args.checkpoint,
                            suite=args.suite))
    backend.add_tags({'checkpoint.sha256': digest_file(args.checkpoint)})
    return backend


def main(args: argparse.Namespace) -> None:
    # Late, for they take seconds: --help does not wait for them.
    import torch.distributed
    from mmengine.dist import is_main_process
    from mmengine.registry import init_default_scope
    from vita_mm.engine.runs import default_work_dir, join_group, read_config
    from vita_mm.engine.selection import find_selection, say
    from vita_mm.io.checkpoints import find_checkpoint, read_tensors
    from vita_mm.io.digests import TRUST
    from vita_mm.io.processes import wait_for_all

    if args.trust_data:
        os.environ[TRUST] = '1'
    args.checkpoint = str(find_checkpoint(args.checkpoint))
    checkpoint, overrides = args.checkpoint, args.cfg_options
    selection = find_selection(read_tensors(checkpoint), checkpoint)
    chosen = None if selection is None else say(selection)
    args.cfg_options = {}
    trained = read_config(args)
    args.cfg_options = overrides
    below = Path(default_work_dir(args.config)).relative_to('work_dirs')
    trained.work_dir = args.work_dir or f'work_dirs/zero_shot/{below}'
    join_group(trained)
    init_default_scope('mmaction')
    passes = []
    for dataset in args.datasets or SUITES[args.suite]:
        for reading in (None, *args.long_clips):
            config = evaluation_config(dataset, reading, trained, args)
            weights = checkpoint if reading else None
            key = evaluation_key(config, weights) if is_main_process() else None
            passes.append((dataset, reading, weights, config, key))
    wait_for_all()
    parent = start_parent(trained, args) if is_main_process() else None
    try:
        rows = run(passes, args, parent)
        if parent:
            report(rows, chosen, trained, args, parent)
            parent.close()
    except BaseException as error:
        if parent:
            parent.fail(error)
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run(passes: list[tuple], args: argparse.Namespace, parent) -> list[dict]:
    """Evaluate what is not finished; the rows of all.

    Raises:
        UserError: if what decides a result changed while it was made.
    """
    from mmengine.dist import broadcast_object_list, is_main_process
    from vita_mm.engine.runs import evaluate
    from vita_mm.errors import UserError
    from vita_mm.io.files import write_json

    rows = []
    for number, (dataset, reading, weights, config, key) in enumerate(passes, 1):
        metrics = [finished(config, key) if args.resume else None]
        broadcast_object_list(metrics)  # the first process decides for all
        metrics = metrics[0]
        if is_main_process():
            print(f'pass {number} of {len(passes)}: {config.experiment_name}'
                  + (', finished before' if metrics else ''), flush=True)
        if metrics is None:
            metrics = evaluate(copy.deepcopy(config), weights,
                               parent and parent.journal.header)
            if is_main_process():
                if evaluation_key(config, weights) != key:
                    raise UserError(
                        f'{weights or "CLIP"} or the data of {dataset} changed while '
                        'they were read: start again')
                write_json(Path(config.work_dir, 'result.json'),
                           dict(key=key, metrics=metrics))
        rows += rows_of(dataset, reading, config, metrics)
    return rows


def report(rows: list[dict], chosen: str | None, trained, args: argparse.Namespace,
           parent) -> None:
    import json

    from rich.console import Console
    from vita_mm.io.digests import digest_file
    from vita_mm.io.files import write_json

    results = dict(
        config=args.config, checkpoint=args.checkpoint, suite=args.suite,
        checkpoint_sha256=digest_file(args.checkpoint), weights=chosen, rows=rows)
    path = Path(trained.work_dir, 'results.json')
    write_json(path, results)
    for row in rows:
        name = f'{row["dataset"]}/{row["prompts"]}/{row["model"].replace(" ", "_")}'
        parent.add_scalars({f'{name}/{key}': row[key]
                            for key in ('top1', 'top1_std', 'videos_read')})
    parent.add_text('results.json', json.dumps(results, indent=1))
    Console().print(make_table(rows, chosen))
    print(f'written to {path}')


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
