"""The recognizer: vision side, text side, and what its checkpoints hold."""
import json
import logging
from typing import Any

import torch
from mmaction.models.recognizers import Recognizer3D
from mmaction.registry import MODELS
from mmengine.dist import all_reduce
from mmengine.logging import print_log

from vita_mm.errors import UserError

from .clip import LoadedCLIP, demands_quick_gelu, load_clip


@MODELS.register_module()
class CLIPRecognizer(Recognizer3D):
    """A system on CLIP as an MMAction2 recognizer.

    Inputs are of MMAction2's ``NCTHW`` shape, (B, views, 3, T, H, W). Its checkpoints
    hold the trained tensors only, the CLIP they were trained on (``arch``,
    ``pretrained``, ``sha256`` of its weights, ``settings``) and, for class-specific
    contexts, the class names; loading onto another CLIP or other classes is refused, and
    so are tensors that are not finite.

    Args:
        clip: the arguments of :func:`load_clip`.
        backbone: config of the vision side.
        cls_head: config of the text side.
        data_preprocessor, train_cfg, test_cfg: as in MMAction2.
    """
    backbone: Any  # whichever the registry builds
    cls_head: Any

    def __init__(self, clip: dict | LoadedCLIP, backbone: dict, cls_head: dict,
                 data_preprocessor: dict | None = None, train_cfg: dict | None = None,
                 test_cfg: dict | None = None) -> None:
        clip = clip if isinstance(clip, LoadedCLIP) else load_clip(**clip)
        super().__init__(
            backbone=dict(backbone, clip=clip), cls_head=dict(cls_head, clip=clip),
            data_preprocessor=data_preprocessor, train_cfg=train_cfg, test_cfg=test_cfg)
        self.clip_identity = clip.identity
        self.register_load_state_dict_pre_hook(check_checkpoint)

    def parse_losses(self, losses: dict) -> tuple:
        """As the base class, with logged values averaged over all ranks."""
        loss, log_vars = super().parse_losses(losses)
        names = list(log_vars)
        values = torch.stack([log_vars[name].detach().double().reshape(())
                              for name in names])
        all_reduce(values, op='mean')
        return loss, type(log_vars)(zip(names, values))

    def get_extra_state(self) -> torch.Tensor:
        classes = self.cls_head.classes if self.cls_head.class_specific else None
        return pack_identity(self.clip_identity, classes)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Nothing to set: :func:`check_checkpoint` has compared it."""


def pack_identity(clip: dict, classes: list[str] | None) -> torch.Tensor:
    """What a checkpoint belongs to, as json in a tensor of bytes: MMEngine sends state
    dicts between ranks and takes tensors only."""
    text = json.dumps(dict(clip=clip, classes=classes))
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def unpack_identity(packed: torch.Tensor) -> dict:
    """The inverse of :func:`pack_identity`; ``settings`` is None in old checkpoints, for
    which ``quick_gelu`` may say more, see
    :func:`vita_mm.description.tell_activation`.

    Raises:
        UserError: if it is none.
    """
    try:
        identity = json.loads(bytes(packed.cpu().tolist()))
        found = identity['clip']
        clip = {key: str(found[key]) for key in ('arch', 'pretrained', 'sha256')}
        clip |= {key: found.get(key) for key in ('settings', 'quick_gelu')}
        return dict(clip=clip, classes=identity['classes'])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError('the checkpoint does not say which CLIP it belongs to: its '
                        '_extra_state is damaged') from error


def check_checkpoint(model: CLIPRecognizer, state_dict: dict, prefix: str, *_) -> None:
    """Refuse a checkpoint that is not wholly and exactly this model's.

    A zero-shot model has manual prompts: it leaves learned contexts in the checkpoint
    aside, and takes all else.

    Raises:
        UserError: naming the keys that are missing, extra, of another shape or not
            finite, or the CLIP or class that differs.
    """
    for name, part in model.named_children():
        rename = getattr(part, 'use_present_names', None)
        if rename is not None:  # its tensors had other names
            rename(state_dict, f'{prefix}{name}.')
    if model.cls_head.context is None:
        state_dict.pop(prefix + 'cls_head.context.vectors', None)
    given = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    wanted = model.state_dict()
    faults = [f'{key} is missing' for key in wanted.keys() - given.keys()]
    faults += [f'{key} is not in the model' for key in given.keys() - wanted.keys()]
    faults += [
        f'{key} has shape {tuple(given[key].shape)}, not {tuple(value.shape)}'
        for key, value in wanted.items()
        if key in given and key != '_extra_state'
        and getattr(given[key], 'shape', None) != value.shape]
    if faults:
        raise UserError('the checkpoint does not fit the model: '
                        + '; '.join(sorted(faults)[:8])
                        + (f'; and {len(faults) - 8} more' if len(faults) > 8 else ''))
    for key, value in given.items():
        if key != '_extra_state' and not value.isfinite().all():
            raise UserError(f'the checkpoint holds values of {key} that are not finite: '
                            'its training has failed; take an earlier one')
    state = unpack_identity(given['_extra_state'])
    if state['clip']['sha256'] != model.clip_identity['sha256']:
        raise UserError(
            'the checkpoint was trained on another CLIP ({arch}, {pretrained}, sha256 '
            '{sha256:.12}…)'.format(**state['clip'])
            + ' than the model has ({arch}, {pretrained}, sha256 {sha256:.12}…)'.format(
                **model.clip_identity))
    check_settings(state['clip'], model.clip_identity)
    if model.cls_head.class_specific and state['classes'] != model.cls_head.classes:
        theirs, ours = next(
            (pair for pair in zip(state['classes'] or [], model.cls_head.classes)
             if pair[0] != pair[1]), (None, model.cls_head.classes[0]))
        raise UserError('the checkpoint holds class-specific contexts of other classes, '
                        f'or in another order: {theirs!r} where the model has {ours!r}')


def check_settings(theirs: dict, ours: dict) -> None:
    """Refuse a CLIP of the same weights that computes something else from them.

    Old checkpoints do not hold the settings. Their activation is then told from their
    description, or from how the CLIP is named; where neither says it, the model's is
    taken.

    Args:
        theirs, ours: identities of the checkpoint's and the model's CLIP.

    Raises:
        UserError: naming both.
    """
    given = theirs['settings']
    if given is None:
        quick = theirs['quick_gelu']
        if quick is None:
            quick = demands_quick_gelu(theirs['arch'], theirs['pretrained'])
        if quick is None:
            print_log('the checkpoint does not say what activation its CLIP has, nor '
                      f"does the CLIP's name: the model's is taken ({ours['settings']})",
                      'current', logging.WARNING)
            return
        if quick == ('QuickGELU' in ours['settings']):
            return
        given = 'QuickGELU' if quick else 'GELU'
    elif given == ours['settings']:
        return
    raise UserError(
        f'the checkpoint was trained on a CLIP of the same weights but other settings '
        f'({given}) than the model has ({ours["settings"]}): set model.clip.quick_gelu '
        'or the architecture as in its training')
