"""Draw what a model attends to in videos: attention rollout, and the shares of prompts.

    python tools/rollout.py VIDEO... --checkpoint CHECKPOINT --against frozen

For each video, under --out: frames.png and frames.gif, heat maps over the frames (of the
model and, with `--against frozen`, of the CLIP under it without prompts); shares.png and
shares.csv, how the attention of the CLS tokens divides over patches and prompts, layer by
layer. All of it goes to an MLflow run too. Exit code 2 if a video could not be read.
"""
import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from rich.progress import track

from vita_mm.attention_pictures import (Heat, animate, draw_frames, draw_shares,
                                        patch_maps)
from vita_mm.errors import UserError, cli_errors
from vita_mm.tracking.probes import digest_file
from vita_mm.inference import Predictor
from vita_mm.models import CLIPVisionTransformer
from vita_mm.rollout import rollout, trace
from vita_mm.tracking import MLflowTracking


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('videos', nargs='+', metavar='VIDEO')
    parser.add_argument('--checkpoint', required=True)
    parser.add_argument('--against', choices=('frozen', ),
                        help='draw frozen CLIP without prompts beside it')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/rollout'))
    parser.add_argument('--config', help='where the checkpoint does not describe itself')
    parser.add_argument('--clip', help='the file of the CLIP weights')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    predictor = Predictor(args.checkpoint, config=args.config, clip=args.clip,
                          device=args.device)
    frozen = None
    if args.against == 'frozen':
        frozen = CLIPVisionTransformer(predictor.model.cls_head.clip).to(args.device)
    tracking = MLflowTracking(str(args.out))
    tracking.start('run', str(args.out), run_name=f'rollout {Path(args.checkpoint).name}')
    try:
        tracking.add_params(dict(checkpoint=args.checkpoint, against=args.against or '',
                                 videos=len(args.videos)))
        tracking.add_tags({'checkpoint.sha256': digest_file(args.checkpoint)})
        failed = draw_all(args, predictor, frozen, tracking)
    except BaseException as error:
        tracking.fail(error)
        raise
    tracking.close()
    return 2 if failed else 0


def draw_all(args: argparse.Namespace, predictor: Predictor,
             frozen: CLIPVisionTransformer | None, tracking: MLflowTracking) -> int:
    """Draw every video; how many could not be read."""
    failed = 0
    for name, video in track(list(zip(names(args.videos), args.videos)), 'videos',
                             disable=not sys.stderr.isatty()):
        try:
            folder = draw(predictor, frozen, video, args.out / name)
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


def draw(predictor: Predictor, frozen: CLIPVisionTransformer | None, video: str,
         folder: Path) -> Path:
    """Draw one video into a folder."""
    model = predictor.model
    batch = model.data_preprocessor(pseudo_collate([predictor.read(video)]))
    clip = batch['inputs'][:, 0]
    features, layers = trace(model.backbone, clip)
    scores = model.cls_head.logits(
        features.to(predictor.text_features.device), predictor.text_features)
    score, best = scores.softmax(dim=-1)[0].max(dim=0)
    grid = model.backbone.tower.module.grid_size
    heats = [Heat('with prompts', patch_maps(rollout(layers)[0], grid))]
    if frozen is not None:
        heats.append(Heat('frozen CLIP', patch_maps(
            rollout(trace(frozen, clip)[1])[0], grid)))
    frames = pixels(clip[0], model.data_preprocessor)
    folder.mkdir(parents=True, exist_ok=True)
    title = f'{Path(video).name}: {predictor.classes[best]} ({score:.0%})'
    draw_frames(frames, heats, title, folder / 'frames.png')
    animate(frames, heats, folder / 'frames.gif')
    shares = draw_shares(layers, Path(video).name, folder / 'shares.png')
    with open(folder / 'shares.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['layer', *shares])
        for number, row in enumerate(zip(*shares.values()), 1):
            writer.writerow([number, *(f'{part:.6f}' for part in row)])
    return folder


def pixels(clip: torch.Tensor, preprocessor) -> np.ndarray:
    """Normalised frames, (3, T, H, W), as they were seen: (T, H, W, 3) in uint8."""
    shown = clip * preprocessor.std.flatten()[:, None, None, None] \
        + preprocessor.mean.flatten()[:, None, None, None]
    return shown.round().clamp(0, 255).byte().permute(1, 2, 3, 0).cpu().numpy()


if __name__ == '__main__':
    with cli_errors():
        sys.exit(main())
