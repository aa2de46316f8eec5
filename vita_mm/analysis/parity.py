"""The model beside outputs of the released code, case by case."""
import json
from pathlib import Path

import numpy as np
import torch

from vita_mm.errors import UserError
from vita_mm.models import VitaCLIP, VitaCLIPVisionTransformer
from vita_mm.models.vita_clip.checkpoints import (
    join_layers,
    read_released,
    to_released,
    trained_matches,
)

LOGIT_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


def build_model(case: Path, settings: dict) -> VitaCLIP:
    released = read_released(
        str(case.with_suffix('.pth')), classes=settings['classes'],
        vision_heads=settings['dim']['num_heads'],
        text_heads=settings['dim']['text_transformer_heads'],
        image_size=tuple(settings['dim']['input_size']),
        context_position=settings['context_position'])
    expected = dict(
        num_frames=settings['num_frames'], summary=settings['summary'],
        local=settings['local'],
        num_global=settings['num_global'] if settings['global_'] else 0)
    if released.backbone != expected:
        raise UserError(f'{case}: the weights are of a model with {released.backbone}, '
                        f'the settings say {expected}')
    model = VitaCLIP(
        clip=released.clip,
        backbone=dict(type='VitaCLIPVisionTransformer', **released.backbone),
        cls_head=dict(type='VitaCLIPTextHead', **released.cls_head))
    proj = released.clip.model.visual.proj
    assert proj is not None  # every CLIP that fits has one
    model.to(proj.dtype)
    model.load_state_dict(released.state_dict())
    return model


def gradient_errors(ours: dict, theirs: dict) -> dict[str, float]:
    """By tensor: the largest error, relative to the tensor's largest entry.

    Gradients of key biases are zero but for rounding: theirs are absolute. Others may
    be nearly so: a tensor counts as no smaller than 1e-5 of the largest gradient of all.
    """
    floor = 1e-5 * max(gradient.abs().max().item() for gradient in theirs.values())
    errors = {}
    for name, gradient in theirs.items():
        error = (ours[name] - gradient.reshape(ours[name].shape)).abs().max().item()
        size = max(gradient.abs().max().item(), floor)
        errors[name] = error if name.endswith('k_proj.bias') else error / size
    return errors


def check_case(case: Path, device: str) -> tuple[float, float | None]:
    """Largest logit error and largest relative gradient error (None: no gradients)."""
    settings = json.loads(case.with_suffix('.json').read_text())
    arrays = {name: torch.from_numpy(array) for name, array
              in np.load(case.with_suffix('.npz'), allow_pickle=False).items()}
    model = build_model(case, settings).to(device)
    video = arrays['video'].to(device).unsqueeze(1)  # one view
    logits = model(video, mode='tensor', stage='head').cpu()
    logit_error = (logits - arrays['logits']).abs().max().item()
    expected = {key.removeprefix('grad/'): value for key, value in arrays.items()
                if key.startswith('grad/')}
    if not expected:
        return logit_error, None
    torch.nn.functional.cross_entropy(logits, arrays['label'].long()).backward()
    backbone = model.backbone
    assert isinstance(backbone, VitaCLIPVisionTransformer)
    assert backbone.prompts is not None
    num_layers = len(backbone.prompts)
    gradients = {name: parameter.grad.cpu() for name, parameter
                 in model.named_parameters() if parameter.grad is not None}
    ours = join_layers(to_released(gradients, trained_matches(num_layers)), num_layers)
    if ours.keys() != expected.keys():
        raise UserError(f'{case}: gradients differ in names: '
                        + ', '.join(sorted(ours.keys() ^ expected.keys())))
    # NumPy's maximum, unlike Python's, keeps a NaN.
    return logit_error, float(np.max(list(gradient_errors(ours, expected).values())))
