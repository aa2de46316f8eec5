"""Pictures of what a model attends to: heat maps over frames, shares of layers."""
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vita_mm.inference import Predictor
from vita_mm.models import CLIPVisionTransformer
from vita_mm.models.common.attention import LayerAttention

from .pictures import literal
from .rollout import rollout, trace

# Of the frame under the hottest and under the coldest patch, what stays.
HOT, COLD = 0.35, 0.75
# The patches above this quantile of a clip are all as hot as can be.
HOTTEST = 0.98
# Pixels of a frame in pictures, at least.
SIDE = 160
COLOURS = {'patches': '#9aa7b5', 'CLS': '#3d4f61', 'summary': '#d1495b',
           'global': '#e8a33d', 'local': '#2a8c82'}
SECOND = 1000  # milliseconds


@dataclass(frozen=True)
class Heat:
    """Relevance of patches over the frames of a clip.

    Attributes:
        title: whose.
        maps: (T, rows, columns), of any scale.
    """
    title: str
    maps: np.ndarray


def patch_maps(relevance_TP: Tensor, grid: tuple[int, int]) -> np.ndarray:
    return relevance_TP.unflatten(-1, grid).double().cpu().numpy()


def overlay(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Frames under their heat, (T, S, S', 3) in uint8.

    The scale is one for the whole clip: frames can be compared with each other.

    Args:
        frames: (T, H, W, 3), uint8.
        maps: (T, rows, columns).
    """
    times = max(1, -(-SIDE // frames.shape[1]))
    frames = frames.repeat(times, axis=1).repeat(times, axis=2)
    low, high = maps.min(), np.quantile(maps, HOTTEST)
    scaled = np.clip((maps - low) / max(high - low, 1e-12), 0, 1)
    smooth = F.interpolate(torch.from_numpy(scaled)[:, None], size=frames.shape[1:3],
                           mode='bicubic')[:, 0].clamp(0, 1).numpy()
    colours = 255 * colormaps['turbo'](smooth)[..., :3]
    kept = (COLD + (HOT - COLD) * smooth)[..., None]
    return (kept * frames + (1 - kept) * colours).round().astype(np.uint8)


def enlarged(frames: np.ndarray) -> np.ndarray:
    times = max(1, -(-SIDE // frames.shape[1]))
    return frames.repeat(times, axis=1).repeat(times, axis=2)


@dataclass(frozen=True)
class Sight:
    """What a model attends to in a video.

    Attributes:
        title: the video, and what the model takes it for.
        frames: of its centre view as they were seen, (T, H, W, 3) in uint8.
        heats: of the model, and of frozen CLIP where that was asked for.
        layers: of the model.
    """
    title: str
    frames: np.ndarray
    heats: list[Heat]
    layers: list[LayerAttention]


def draw_frames(frames: np.ndarray, heats: list[Heat], title: str, path: Path) -> None:
    """See :func:`frames_figure`."""
    frames_figure(frames, heats, title).savefig(path, dpi=110)


def frames_figure(frames: np.ndarray, heats: list[Heat], title: str) -> Figure:
    """A row of the frames, and below it a row of each heat over them."""
    rows = [('frames', enlarged(frames))] + [
        (heat.title, overlay(frames, heat.maps)) for heat in heats]
    count = len(frames)
    figure = Figure(figsize=(1.25 * count + 0.6, 1.33 * len(rows) + 0.5),
                    layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.05, hspace=0,
                                                   wspace=0))
    FigureCanvasAgg(figure)
    figure.suptitle(literal(title), fontsize=11)
    for line, (name, images) in zip(figure.subplots(len(rows), count, squeeze=False),
                                    rows):
        for axes, image in zip(line, images):
            axes.imshow(image)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=10)
    return figure


def animate(frames: np.ndarray, heats: list[Heat], path: Path, fps: float = 4) -> None:
    """The frames and each heat over them side by side, as an endless GIF."""
    parts = [enlarged(frames)] + [overlay(frames, heat.maps) for heat in heats]
    gap = np.full((*parts[0].shape[:2], 4, 3), 255, np.uint8)
    row = np.concatenate([piece for part in parts for piece in (part, gap)][:-1], axis=2)
    first, *others = map(Image.fromarray, row)
    first.save(path, save_all=True, append_images=others, loop=0,
               duration=round(SECOND / fps))


def draw_shares(layers: list[LayerAttention], title: str, path: Path) -> dict:
    """What the CLS tokens pay to each kind of token, a bar for each layer.

    Returns:
        The shares of each kind by layer, of the first clip.
    """
    shares = [layer.cls_shares() for layer in layers]
    kinds = sorted(shares[0], key=[*COLOURS, *shares[0]].index)
    table = {kind: [float(layer[kind][0]) for layer in shares] for kind in kinds}
    figure = Figure(figsize=(0.42 * len(layers) + 3.2, 3.6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bottom = np.zeros(len(layers))
    for kind, part in table.items():
        axes.bar(range(1, len(layers) + 1), part, bottom=bottom, width=0.86,
                 color=COLOURS.get(kind), label=kind)
        bottom += part
    axes.set(title=literal(title), xlabel='layer', ylim=(0, 1),
             ylabel='share of the attention of CLS', xticks=range(1, len(layers) + 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(*(part[::-1] for part in axes.get_legend_handles_labels()),
                  loc='outside right center', frameon=False)
    figure.savefig(path, dpi=110)
    return table


def look(predictor: Predictor, frozen: CLIPVisionTransformer | None, video: str) -> Sight:
    """Roll out the attention of a model in a video.

    Args:
        frozen: the CLIP that is looked at beside the model.

    Raises:
        UserError: if the video cannot be read, or there is no rollout of the model.
    """
    model: Any = predictor.model
    batch = model.data_preprocessor(pseudo_collate([predictor.read(video)]))
    clip = batch['inputs'][:, 0]
    traced = trace(model.backbone, clip, predictor.system)
    with torch.no_grad():
        scores = model.cls_head(traced.features)
    score, best = scores.softmax(dim=-1)[0].max(dim=0)
    grid = model.backbone.tower.module.grid_size
    heats = [Heat(predictor.system.title, patch_maps(rollout(traced)[0], grid))]
    if frozen is not None:
        heats.append(Heat('frozen CLIP', patch_maps(
            rollout(trace(frozen, clip))[0], grid)))
    return Sight(f'{Path(video).name}: {predictor.classes[best]} ({score:.0%})',
                 pixels(clip[0], model.data_preprocessor), heats, traced.layers)


def draw_video(predictor: Predictor, frozen: CLIPVisionTransformer | None, video: str,
               folder: Path) -> Path:
    """Draw one video into a folder, which is returned; see :func:`look`."""
    sight = look(predictor, frozen, video)
    folder.mkdir(parents=True, exist_ok=True)
    draw_frames(sight.frames, sight.heats, sight.title, folder / 'frames.png')
    animate(sight.frames, sight.heats, folder / 'frames.gif')
    shares = draw_shares(sight.layers, Path(video).name, folder / 'shares.png')
    with open(folder / 'shares.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['layer', *shares])
        for number, row in enumerate(zip(*shares.values()), 1):
            writer.writerow([number, *(f'{part:.6f}' for part in row)])
    return folder


def pixels(clip: Tensor, preprocessor) -> np.ndarray:
    """Normalised frames, (3, T, H, W), as they were seen: (T, H, W, 3) in uint8."""
    shown = clip * preprocessor.std.flatten()[:, None, None, None] \
        + preprocessor.mean.flatten()[:, None, None, None]
    if preprocessor.to_rgb:  # exchanges red and blue
        shown = shown.flip(0)
    return shown.round().clamp(0, 255).byte().permute(1, 2, 3, 0).cpu().numpy()
