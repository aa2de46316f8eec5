"""A model of ours with the weights of the authors' model, and what both answer."""
import copy
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from torch import Tensor
from torch.nn.functional import cross_entropy

from vita_mm.errors import UserError
from vita_mm.io.foreign import read_foreign
from vita_mm.models import VitaCLIP
from vita_mm.models.common.conversion import NamedTensors
from vita_mm.models.common.recognizer import CLIPRecognizer
from vita_mm.models.vita_clip.checkpoints import (
    join_layers,
    read_released,
    to_released,
    trained_matches,
)

from .finding import Finding, config_of, system_of, take

# The largest errors of logits (and of a loss) and of gradients that count as rounding.
# In float64 rounding is far below what the eps of a layer norm changes.
LOGIT_TOLERANCE, GRADIENT_TOLERANCE, DOUBLE_TOLERANCE = 1e-5, 1e-4, 1e-7
# What a gradient's largest entry counts as at least, of that of all gradients. What is
# left of large terms may be rounding in float32: where float64 judges each tensor, errors
# in float32 are relative to the largest of all.
FLOOR, SINGLE_FLOOR = 1e-5, 1.
PRECISIONS = {'float32': torch.float32, 'float64': torch.float64}


@dataclass(frozen=True)
class Case:
    """What the authors' code answered with some weights.

    Attributes:
        path: of its files, without their suffixes.
        info: of its .json.
        arrays: of its .npz.
    """
    path: Path
    info: dict
    arrays: dict[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> 'Case':
        """
        Raises:
            UserError: if its files are damaged.
        """
        try:
            info = json.loads(path.with_suffix('.json').read_text(encoding='utf-8'))
            with np.load(path.with_suffix('.npz'), allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(array)
                         for name, array in arrays.items()}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f'the case {path} cannot be read: {error}') from error
        return cls(path, info, found)

    def says(self, *keys: str) -> Any:
        """What its .json says, a key within another."""
        found: Any = self.info
        for key in keys:
            found = take(found, key, self.path.with_suffix('.json'))
        return found

    @property
    def exact(self) -> bool:
        """Whether theirs was computed in float64 too."""
        return 'logits_float64' in self.arrays

    @property
    def logits(self) -> Tensor:
        name = 'logits_float64' if self.exact else 'logits'
        return take(self.arrays, name, self.path.with_suffix('.npz')).double()

    @property
    def labels(self) -> Tensor:
        return self.arrays['label'].long() if 'label' in self.arrays else torch.tensor(
            self.says('labels'))

    @property
    def gradients(self) -> dict[str, Tensor]:
        """In the authors' names."""
        return {key.removeprefix('grad/'): value for key, value in self.arrays.items()
                if key.startswith('grad/')}

    @property
    def checkpoints(self) -> list[Path]:
        """Files of the same weights."""
        names = self.info.get('checkpoints') or [self.path.name + '.pth']
        return [self.path.with_name(name) for name in names]


# The comparators' models


def count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers have tensors of these names."""
    return len({key.removeprefix(prefix).split('.')[0] for key in tensors
                if key.startswith(prefix)})


def length(tensors: Mapping[str, Tensor], name: str) -> int:
    """The number of positions of an embedding of (..., positions, width)."""
    return tensors[name].shape[-2] if name in tensors else 0


def xclip(tensors: Mapping[str, Tensor], case: Case) -> tuple[dict, dict]:
    return (dict(num_frames=length(tensors, 'mit.positional_embedding')),
            dict(num_layers=count(tensors, 'prompts_generator.decoder.'),
                 templates=case.info.get('prompt', '{}')))


def actionclip(tensors: Mapping[str, Tensor], case: Case) -> tuple[dict, dict]:
    positions = length(tensors, 'fusion.frame_position_embeddings.weight')
    return (dict(temporal=dict(
                num_positions=positions, eps=case.says('settings', 'eps'),
                num_layers=count(tensors, 'fusion.transformer.resblocks.'))),
            dict(templates=case.says('templates')))


def evl(tensors: Mapping[str, Tensor], case: Case) -> tuple[dict, dict]:
    return (dict(num_frames=length(tensors, 'decoder.temporal_pos_embed.0'),
                 num_layers=count(tensors, 'decoder.decoder_layers.')), {})


def efficient_prompt(tensors: Mapping[str, Tensor], case: Case) -> tuple[dict, dict]:
    before, behind = case.says('settings', 'prefix'), case.says('settings', 'postfix')
    width, heads = tensors['temporalEmbedding.weight'].shape[-1], case.says(
        'settings').get('tfm_heads')
    if heads not in (None, max(width // 64, 1)):
        raise UserError(f'{case.path}: a temporal layer of width {width} with {heads} '
                        'heads cannot be built: ours are of 64 each')
    # The head deals out a number of vectors, the odd one behind the name.
    dealt = before + behind > 0 and 0 <= behind - before <= 1
    context = dict(num_context=before + behind) if dealt else dict(
        prefix=before, postfix=behind)
    return (dict(temporal=dict(
                num_positions=length(tensors, 'temporalEmbedding.weight'),
                num_layers=count(tensors, 'temporalModelling.resblocks.'))),
            dict(context, temperature=case.says('temperature')))


def vifi_clip(tensors: Mapping[str, Tensor], case: Case) -> tuple[dict, dict]:
    return {}, dict(templates=case.says('prompt'))


# System to the options of its two sides: sizes are read off the tensors, the rest is
# said by the case, and what neither says is the config's.
SIDES: dict[str, Callable[[Mapping[str, Tensor], Case], tuple[dict, dict]]] = dict(
    xclip=xclip, actionclip=actionclip, evl=evl, efficient_prompt=efficient_prompt,
    vifi_clip=vifi_clip)


def merge(base: dict, changes: dict) -> dict:
    return {**base, **{key: merge(base[key], value) if isinstance(
        base.get(key), dict) and isinstance(value, dict) else value
        for key, value in changes.items()}}


def build_comparator(case: Case) -> CLIPRecognizer:
    """The model of a case, with the weights of its checkpoints.

    Raises:
        UserError: if they do not fit, or hold other weights.
    """
    system = system_of(case.says('system'))
    conversion = system.conversion
    if not isinstance(conversion, NamedTensors):
        raise UserError(f'{case.path}: no cases are made of {system.title}')
    first, *others = case.checkpoints
    content = read_foreign(first)
    if not conversion.recognises(content):
        raise UserError(f'{first} is not a checkpoint of {system.title}')
    backbone, head = SIDES[system.name](conversion.tensors(content) or {}, case)
    config = config_of(case.says('system')).model
    spec = merge(copy.deepcopy(config.to_dict()), dict(
        backbone=backbone, cls_head=dict(head, classes=case.says('classes'))))
    spec['clip'] = dict(arch=case.says('arch'), quick_gelu=True,
                        pretrained=f'{case.path}_clip.pth')
    spec['data_preprocessor'] = None  # videos come normalised
    model = MODELS.build(spec)
    state = conversion.read(content, str(first), model).state_dict
    for path in others:
        again = conversion.read(read_foreign(path), str(path), model).state_dict
        if not all(torch.equal(value, again[key]) for key, value in state.items()):
            raise UserError(f'{path} holds other weights than {first.name}')
    model.load_state_dict(state)
    return model


def build_vita_clip(case: Case) -> VitaCLIP:
    """The model of a case of Vita-CLIP's, whose checkpoint says what it is of.

    Raises:
        UserError: if it is of another than the case says.
    """
    released = read_released(
        f'{case.path}.pth', classes=case.says('classes'),
        vision_heads=case.says('dim', 'num_heads'),
        text_heads=case.says('dim', 'text_transformer_heads'),
        image_size=tuple(case.says('dim', 'input_size')),
        context_position=case.says('context_position'))
    expected = dict(
        num_frames=case.says('num_frames'), summary=case.says('summary'),
        local=case.says('local'),
        num_global=case.says('num_global') if case.says('global_') else 0)
    if released.backbone != expected:
        raise UserError(f'{case.path}: the weights are of a model with '
                        f'{released.backbone}, the settings say {expected}')
    model = VitaCLIP(
        clip=released.clip,
        backbone=dict(type='VitaCLIPVisionTransformer', **released.backbone),
        cls_head=dict(type='VitaCLIPTextHead', **released.cls_head))
    proj = released.clip.model.visual.proj
    assert proj is not None  # every CLIP that fits has one
    model.to(proj.dtype)
    model.load_state_dict(released.state_dict())
    return model


# What they answer


def in_their_names(case: Case, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our gradients under the authors' names."""
    if 'system' not in case.info:
        num_layers = count(gradients, 'backbone.prompts.')
        return join_layers(to_released(gradients, trained_matches(num_layers)),
                           num_layers)
    conversion = system_of(case.says('system')).conversion
    assert isinstance(conversion, NamedTensors)
    found = {}
    for key, gradient in gradients.items():
        names = conversion.their_names(key)
        found.update(zip(names, gradient.chunk(len(names))
                         if len(names) > 1 else [gradient]))
    return found


def gradient_errors(ours: dict[str, Tensor], theirs: dict[str, Tensor],
                    floor: float = FLOOR) -> dict[str, float]:
    """By tensor: the largest error, relative to the tensor's largest entry.

    Gradients of key biases are zero but for rounding: theirs are absolute, or relative to
    the largest gradient of all where that is above 1. Others may be nearly so: a tensor
    counts as no smaller than ``floor`` times the largest. Where all are zero, as of a
    single class, errors are absolute.
    """
    largest = max(gradient.abs().max().item() for gradient in theirs.values())
    errors = {}
    for name, gradient in theirs.items():
        error = (ours[name].double() - gradient.double().reshape(ours[name].shape)
                 ).abs().max().item()
        size = max(gradient.abs().max().item(), floor * largest) or 1.
        errors[name] = error / (
            max(largest, 1.) if name.endswith('k_proj.bias') else size)
    return errors


def training_loss(model: CLIPRecognizer, case: Case, video: Tensor) -> Tensor:
    """What the gradients are of: cross-entropy, or ActionCLIP's own loss."""
    labels = case.labels.to(video.device)
    if 'template_ids' not in case.info:
        return cross_entropy(model(video, mode='tensor', stage='head'), labels)
    model.train()
    features, _ = model.extract_feat(video)
    samples: Any = [ActionDataSample().set_gt_label(int(label)) for label in labels]
    return model.cls_head.loss(
        features, samples, templates=torch.tensor(case.says('template_ids')))['loss_cls']


@dataclass(frozen=True)
class Errors:
    """In one precision, relative to the largest logit of all, to the loss, and as of
    :func:`gradient_errors`; None where the case holds nothing."""
    logits: float
    loss: float | None
    gradients: float | None
    where: str
    trained: int

    def within(self, logits: float, gradients: float) -> bool:
        # A NaN must fail, so ask for "within", not for "beyond".
        return (self.logits <= logits
                and (self.loss is None or self.loss <= logits)
                and (self.gradients is None or self.gradients <= gradients))


def measure(model: CLIPRecognizer, case: Case, precision: str) -> Errors:
    """
    Raises:
        UserError: if gradients of theirs are none of ours.
    """
    model.to(PRECISIONS[precision]).eval()
    model.zero_grad()
    device = next(model.parameters()).device
    video = take(case.arrays, 'video', case.path.with_suffix('.npz'))
    video = video.to(device, PRECISIONS[precision]).unsqueeze(1)  # one view
    theirs = case.logits
    with torch.no_grad():
        ours = model(video, mode='tensor', stage='head').cpu().double()
    scale = theirs.abs().max().item() or 1.
    logits = (ours - theirs).abs().max().item() / scale
    if 'probabilities_float64' in case.arrays:
        # The logarithms of probabilities may all be zero, and are measured from 1.
        logits *= scale / max(scale, 1.)
        logits = float(np.maximum(logits, (
            ours.exp() - case.arrays['probabilities_float64']).abs().max().item()))
    expected = case.gradients
    if not expected:
        return Errors(logits, None, None, '', 0)
    value = training_loss(model, case, video)
    value.backward()
    gradients = {name: parameter.grad.cpu() for name, parameter
                 in model.named_parameters() if parameter.grad is not None}
    mine = in_their_names(case, gradients)
    lacking = sorted(expected.keys() - mine.keys())
    if lacking:
        raise UserError(f'{case.path}: there is no gradient of ' + ', '.join(lacking))
    errors = gradient_errors(
        mine, expected, SINGLE_FLOOR if case.exact and precision == 'float32' else FLOOR)
    # NumPy's maximum, unlike Python's, keeps a NaN.
    worst = float(np.max(list(errors.values())))
    where = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    given = case.arrays.get('loss_float64')
    loss = None if given is None else (
        abs(value.item() - given.item()) / max(abs(given.item()), 1.))
    return Errors(logits, loss, worst, where, sum(
        gradient.numel() for gradient in gradients.values()))


def check_case(path: Path, device: str = 'cpu') -> Finding:
    """A model beside what the authors' gave, in float32 and float64."""
    case = Case.read(path)
    name = case.info.get('system', 'vita_clip')
    what = f'{path.parent.name}/{path.name}: {name}'
    try:
        model = (build_comparator if 'system' in case.info else build_vita_clip)(case)
        model.to(device)
        single, double = (measure(model, case, precision) for precision in PRECISIONS)
    except UserError as error:
        return Finding(what, str(error), False)
    # Of Vita-CLIP theirs was computed in float32 alone.
    equal = single.within(LOGIT_TOLERANCE, GRADIENT_TOLERANCE) and double.within(
        *(DOUBLE_TOLERANCE, ) * 2 if case.exact
        else (LOGIT_TOLERANCE, GRADIENT_TOLERANCE))
    found = [f'{part} {one:.1e} / {two:.1e}' for part, one, two in (
        ('logits', single.logits, double.logits), ('loss', single.loss, double.loss),
        ('gradients', single.gradients, double.gradients))
        if one is not None and two is not None]
    if not equal and single.gradients is not None:
        found.append(f'farthest: {single.where} / {double.where}')
    theirs = case.info.get('parameters_with_gradient', {}).get('numbers')
    if theirs is not None:
        equal = equal and theirs == single.trained
        found.append(f'{single.trained} trained' if theirs == single.trained else
                     f'{single.trained} trained, theirs {theirs}')
    return Finding(what, ', '.join(found), equal)
