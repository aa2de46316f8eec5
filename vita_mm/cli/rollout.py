"""Draw what a model attends to in videos: attention rollout, and the shares of prompts.

    vita-mm rollout VIDEO... --checkpoint CHECKPOINT --against frozen
    vita-mm rollout VIDEO... --config configs/frozen_clip/mini_k400.py

For each video, under --out: frames.png and frames.gif, heat maps over the frames (of the
model and, with `--against frozen`, of the CLIP under it as it was); shares.png and
shares.csv, how the attention of the CLS tokens divides over patches and prompts, layer by
layer. All of it goes to an MLflow run too. Exit code 2 if a video could not be read. What
is rolled in each system is said in vita_mm/analysis/rollout.py.
"""
import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', nargs='+', metavar='VIDEO')
    parser.add_argument('--checkpoint', help='a file, or a work dir, whose last weights '
                        'count; not for frozen CLIP, whose config is enough')
    parser.add_argument('--against', choices=('frozen', ),
                        help='draw frozen CLIP without prompts beside it')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/rollout'))
    parser.add_argument('--config', help='where the checkpoint does not describe itself')
    parser.add_argument('--clip', help='the file of the CLIP weights')
    parser.add_argument('--device', default='cpu')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.checkpoint is None and args.config is None:
        parser.error('there is no model: give --checkpoint, or --config of frozen CLIP')


def main(args: argparse.Namespace) -> int:
    from vita_mm.inference import Predictor
    from vita_mm.io.checkpoints import find_checkpoint
    from vita_mm.models import CLIPVisionTransformer
    from vita_mm.systems import check_verb
    from vita_mm.tracking import MLflowTracking
    from vita_mm.tracking.probes import digest_file
    predictor = Predictor(args.checkpoint, config=args.config, clip=args.clip,
                          device=args.device)
    check_verb('rollout', predictor.system)
    frozen = None
    if args.against == 'frozen':
        frozen = CLIPVisionTransformer(predictor.model.cls_head.clip).to(args.device)
    tracking = MLflowTracking(str(args.out))
    name = Path(args.checkpoint or args.config).name
    tracking.start('run', str(args.out), run_name=f'rollout {name}')
    try:
        tracking.add_params(dict(checkpoint=args.checkpoint or '',
                                 against=args.against or '', videos=len(args.videos)))
        if args.checkpoint:
            tracking.add_tags({'checkpoint.sha256': digest_file(
                find_checkpoint(args.checkpoint))})
        failed = draw_all(args, predictor, frozen, tracking)
    except BaseException as error:
        tracking.fail(error)
        raise
    tracking.close()
    return 2 if failed else 0


def draw_all(args: argparse.Namespace, predictor, frozen, tracking) -> int:
    """Draw every video; how many could not be read."""
    from rich.progress import track

    from vita_mm.analysis.attention_pictures import draw_video
    from vita_mm.errors import UserError
    failed = 0
    for name, video in track(list(zip(names(args.videos), args.videos)), 'videos',
                             disable=not sys.stderr.isatty()):
        try:
            folder = draw_video(predictor, frozen, video, args.out / name)
        except UserError as error:
            print(f'error: {error}', file=sys.stderr, flush=True)
            failed += 1
            continue
        for file in sorted(folder.iterdir()):
            tracking.add_file(f'{name}/{file.name}', file)
        print(folder)
    return failed


def names(videos: list[str]) -> list[str]:
    """The files' names, numbered where they are the same."""
    stems = [Path(video).stem for video in videos]
    return [stem if stems.count(stem) == 1 else f'{stem}_{stems[:place].count(stem) + 1}'
            for place, stem in enumerate(stems)]

