"""How ours resizes, crops and normalises frames, beside the authors' code.

The steps are those of the system's config. What a step does is measured: it is given a
frame whose pixels say where they are, and a step that gives windows of it crops.
"""
import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmaction.registry import TRANSFORMS
from mmengine.config import Config

from vita_mm.engine.variants import Variants, apply_variants, pipeline_of
from vita_mm.errors import UserError

from .finding import Finding, config_of, take

# What ours calls the views of an evaluation.
VIEWS = dict(one_crop='1x1', three_crops='1x3')
# A crop that has shown no new place in so many draws has shown them all.
DRAWS, PATIENCE, TRIALS = 20000, 3000, 8

Size = tuple[int, int]  # width, height
Box = tuple[int, int, int, int]  # left, top, right, bottom


def check_pixels(path: Path) -> list[Finding]:
    """
    Raises:
        UserError: if a file is no JSON.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} is not JSON: {error}') from error
    found = []
    for part, check in (('systems', check_constants), ('geometry', check_geometry),
                        ('boxes', check_boxes)):
        for system, theirs in content.get(part, {}).items():
            try:
                found += check(system, theirs, path)
            except UserError as error:
                found.append(Finding(f'{part} of {system}', str(error), False))
    return found


# Constants


def check_constants(system: str, theirs: dict, path: Path) -> list[Finding]:
    """Mean and standard deviation, of pixels of 0 to 255."""
    normalise = take(theirs, 'normalise', path)
    factor = 255. if take(normalise, 'of', path) == 'pixels / 255' else 1.
    ours = config_of(system).model.data_preprocessor
    wrong = []
    for key in ('mean', 'std'):
        wanted = factor * np.array(take(normalise, key, path))
        if not np.allclose(ours[key], wanted, rtol=1e-6, atol=0):
            wrong.append(f'{key} {list_numbers(ours[key])}, theirs '
                         f'{list_numbers(wanted)}')
    return [Finding(f'normalisation of {system}', '\n'.join(wrong) or 'the same',
                    not wrong)]


def list_numbers(values) -> str:
    return ' '.join(f'{value:.4g}' for value in values)


# Sizes and corners


def check_geometry(system: str, theirs: list[dict], path: Path) -> Iterator[Finding]:
    """Resized sizes and corners of the crops in evaluation."""
    for views, ours in VIEWS.items():
        cases = [case for case in theirs if views in case]
        if not cases:
            continue
        pipeline = pipeline_of(
            apply_variants(config_of(system), Variants(views=ours)), 'test')
        wrong = []
        for case in cases:
            size = take(case, 'width', path), take(case, 'height', path)
            resized = tuple(take(take(case, 'resized', path), views, path))
            # Views are averaged, so that their order is none of what is compared.
            corners = sorted((take(corner, 'left', path), take(corner, 'top', path))
                             for corner in case[views])
            found = follow(pipeline, size)
            if found != (resized, corners):
                wrong.append(f'{words(size)}: {place(*found)}, theirs '
                             f'{place(resized, corners)}')
        yield Finding(f'pixels of {system}: {views}', '\n'.join(wrong[:3])
                      or f'the same of {len(cases)} sizes', not wrong)


def follow(pipeline: list, size: Size) -> tuple[Size, list[tuple[int, int]]]:
    """What steps do to a frame: its size when it is cropped, and the corners (left, top)
    of the crops."""
    corners = None
    for transform in pixel_steps(pipeline):
        frames = apply_step(transform, size)
        new = frames[0].shape[1::-1]
        if all(map(is_window, frames)) and (len(frames) > 1 or new != size):
            if corners is not None:
                raise UserError('a pipeline that crops twice cannot be compared')
            corners = sorted(find_window(frame)[:2] for frame in frames)
        elif new != size:
            if corners is not None:  # what a crop gives is no longer of interest
                break
            size = new
    return size, corners or [(0, 0)]


def place(size: Size, corners: list) -> str:
    return f'{words(size)} ' + ' '.join(f'({left}, {top})' for left, top in corners)


def words(size: Size) -> str:
    return '{}x{}'.format(*size)


# Crops of training


def check_boxes(system: str, theirs: list[dict], path: Path) -> Iterator[Finding]:
    """All crops that training can draw."""
    pipeline = pipeline_of(config_of(system), 'train')
    wrong, sizes = [], []
    for case in theirs:
        size = tuple(take(case, 'resized', path))
        wanted = {tuple(box) for box in take(case, 'left_top_right_bottom', path)}
        crop = find_crop(pipeline, size)
        if crop is None:
            wrong.append(f'{words(size)}: no step of ours crops')
            continue
        found = draw_boxes(crop, size, wanted)
        sizes.append(f'{words(size)}: the same {len(wanted)} places')
        if found != wanted:
            wrong.append(f'{words(size)}: {len(found - wanted)} places that theirs '
                         f'has not, {len(wanted - found)} of its {len(wanted)} missing')
    yield Finding(f'crops of {system} in training', '\n'.join(wrong or sizes), not wrong)


def find_crop(pipeline: list, size: Size) -> Callable | None:
    """The step that gives windows of a frame, smaller ones among them."""
    for transform in pixel_steps(pipeline):
        frames = [frame for _ in range(TRIALS) for frame in apply_step(transform, size)]
        if all(map(is_window, frames)) and any(
                find_window(frame) != (0, 0, *size) for frame in frames):
            return transform
    return None


def draw_boxes(crop: Callable, size: Size, wanted: set[Box]) -> set[Box]:
    """All that it gives."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    found: set[Box] = set()
    new = 0
    for number in range(DRAWS):
        if number - new > (PATIENCE if found != wanted else PATIENCE // 3):
            break
        for frame in apply_step(crop, size):
            box = find_window(frame)
            if box not in found:
                found.add(box)
                new = number
    return found


# A frame whose pixels say where they are


def pixel_steps(pipeline: list) -> list[Callable]:
    """The steps from decoded frames to a batch."""
    names = [step['type'] for step in pipeline]
    if 'DecodeFrames' not in names or 'FormatShape' not in names:
        raise UserError('a pipeline with DecodeFrames and FormatShape is needed; this '
                        'one has ' + ', '.join(names))
    chosen = pipeline[names.index('DecodeFrames') + 1:names.index('FormatShape')]
    return [TRANSFORMS.build(dict(Config(dict(step=step)).step)) for step in chosen]


def apply_step(transform: Callable, size: Size) -> list[np.ndarray]:
    """What a step makes of the frame of :func:`coordinates`."""
    frame = coordinates(size).copy()
    return [np.asarray(image) for image in transform(dict(
        imgs=[frame], img_shape=frame.shape[:2], original_shape=frame.shape[:2],
        num_clips=1, clip_len=1, modality='RGB', total_frames=1))['imgs']]


@functools.lru_cache(maxsize=8)
def coordinates(size: Size) -> np.ndarray:
    """A frame (H, W, 3) of bytes that name column and row, of 4096 each at most."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([columns % 256, rows % 256, columns // 256 * 16 + rows // 256],
                    axis=-1).astype(np.uint8)


def read_coordinates(pixels: np.ndarray) -> np.ndarray:
    """Column and row of pixels, (..., 3) -> (..., 2)."""
    high = pixels[..., 2].astype(int)
    return np.stack([pixels[..., 0] + high // 16 * 256, pixels[..., 1] + high % 16 * 256],
                    axis=-1)


def is_window(frame: np.ndarray) -> bool:
    """Whether a frame is a part of that of :func:`coordinates`."""
    height, width = frame.shape[:2]
    found = read_coordinates(frame)
    return bool((found[..., 0] == found[0, 0, 0] + np.arange(width)).all()
                and (found[..., 1] == found[0, 0, 1] + np.arange(height)[:, None]).all())


def find_window(frame: np.ndarray) -> Box:
    """Where a window was."""
    left, top = map(int, read_coordinates(frame[0, 0]))
    return left, top, left + frame.shape[1], top + frame.shape[0]
