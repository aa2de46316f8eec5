"""Between the checkpoints that a system's authors released and ours.

Reading one is total: every key is used, or checked and set aside; anything else is
refused. The commits that were read are named in the systems' wings.
"""
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor

from vita_mm.errors import UserError

from .clip import LoadedCLIP
from .layers import blocks
from .recognizer import CLIPRecognizer

WRAPPER = 'module.'  # of data-parallel wrappers


@dataclass(frozen=True)
class Converted:
    """What a released checkpoint holds, in our terms.

    Attributes:
        state_dict: that our recognizer loads.
        model: as the ``model`` of a config, if the file says what model it is of.
        pipeline: of its evaluation, with ``model``.
        clip: the state dict of the CLIP inside, in open_clip's names, if it is to be
            used in place of the one that it started from.
        report: what to tell about it, a line each.
    """
    state_dict: dict[str, Tensor]
    model: dict | None = None
    pipeline: list[dict] | None = None
    clip: dict[str, Tensor] | None = None
    report: list[str] = field(default_factory=list)


class Conversion(Protocol):
    """From and to the checkpoints of a system's authors.

    ``options`` are those of the command line that ``read`` takes as keyword arguments;
    ``needs_model`` says whether a model of ours must be built, from its config, to read
    one.
    """
    @property
    def options(self) -> tuple[str, ...]: ...

    @property
    def needs_model(self) -> bool: ...

    def recognises(self, content: Mapping) -> bool:
        """Whether a file with this content is one."""
        ...

    def settings(self, content: Mapping, head: Mapping, path: str, **options: Any
                 ) -> dict:
        """What the model to read one has in its ``cls_head``, beside the config's."""
        ...

    def read(self, content: Mapping, path: str, model: CLIPRecognizer | None,
             **options: Any) -> Converted:
        """Raises UserError if it is not wholly understood, or is of another model."""
        ...

    def write(self, model: CLIPRecognizer) -> dict:
        """Raises UserError if the released code has no such model."""
        ...


@dataclass(frozen=True)
class NamedTensors:
    """A format whose tensors are ours under other names: a :class:`Conversion`.

    Attributes:
        title: of the system.
        sign: a key that all of its files have.
        names: patterns of our names, and what theirs are; ``{}`` stands for ``q``, ``k``
            and ``v``, which are one matrix of ours.
        entries: what their names begin with, and in which entry of the file they are.
        wrapped: of these beginnings, those whose names in the file begin with
            ``module.``; in reading it is never wanted.
        frozen: what the names of frozen tensors of CLIP begin with; None if the files
            hold none.
        leading: theirs that have a first dimension of 1.
        untrained: ours that their code does not train and their files lack.
        computed: of a model of ours, what their files hold beside its tensors.
        settings: see :class:`Conversion`.
    """
    title: str
    sign: str
    names: tuple[tuple[str, str | Callable[[re.Match], str]], ...]
    entries: Mapping[str, str] = field(default_factory=lambda: {'': 'model'})
    wrapped: tuple[str, ...] = ()
    frozen: str | None = None
    leading: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    computed: Callable[[CLIPRecognizer], dict[str, Tensor]] = lambda model: {}
    settings: Callable[..., dict] = lambda content, head, path: {}
    options: tuple[str, ...] = ()
    needs_model: bool = True

    def recognises(self, content: Mapping) -> bool:
        return self.sign in (self.tensors(content) or {})

    def tensors(self, content: Mapping) -> dict[str, Tensor] | None:
        """By their names, without wrappers; None if the entries are others."""
        found = {}
        for prefix, entry in self.entries.items():
            part = content.get(entry)
            if not isinstance(part, dict) or not all(
                    isinstance(key, str) and isinstance(value, Tensor)
                    for key, value in part.items()):
                return None
            found |= {prefix + key.removeprefix(WRAPPER): value
                      for key, value in part.items()}
        return found

    def read(self, content: Mapping, path: str, model: CLIPRecognizer | None,
             **options: Any) -> Converted:
        assert model is not None
        if not has_quick_gelu(model):
            raise UserError(f'{path} is of a CLIP with QuickGELU, which the CLIP of this '
                            'config has not: set model.clip.quick_gelu=True')
        left = {key: value.float()
                for key, value in (self.tensors(content) or {}).items()}
        state = {key: self.take(key, wanted, left, path)
                 for key, wanted in model.state_dict().items()}
        for key, value in self.computed(model).items():
            found = left.pop(key, None)
            if found is None or not same_in_half(found, value):
                raise UserError(f'{key} in {path} is not what this config has: are its '
                                'classes or prompts others?')
        self.check_frozen(model, left, path)
        return Converted(state)

    def take(self, key: str, wanted: Tensor, left: dict[str, Tensor], path: str
             ) -> Tensor:
        """Our tensor out of theirs."""
        if key == '_extra_state' or key in self.untrained:
            return wanted
        names = self.their_names(key)
        missing = [name for name in names if name not in left]
        if missing:
            raise UserError(f'{path} lacks {missing[0]}, which {self.title} has with '
                            'this config: does the config fit it?')
        parts = [left.pop(name) for name in names]
        value = torch.cat(parts) if len(parts) > 1 else parts[0]
        if names[0] in self.leading and len(value) == 1:
            value = value[0]
        if value.shape != wanted.shape:
            raise UserError(f'{names[0]} in {path} has shape {tuple(value.shape)}, not '
                            f'{tuple(wanted.shape)} as with this config: does it fit?')
        return value

    def their_names(self, key: str) -> list[str]:
        for ours, theirs in self.names:
            if re.match(ours, key):
                name = re.sub(ours, theirs, key, count=1)
                return [name.format(part) for part in 'qkv'] if '{}' in name else [name]
        raise UserError(f'{self.title} as released has nothing like {key}')

    def check_frozen(self, model: CLIPRecognizer, left: dict[str, Tensor], path: str
                     ) -> None:
        """Refuse what is not of the frozen CLIP, or is not equal to it in half
        precision, which is that of CLIP's own weights."""
        clip = {} if self.frozen is None else {
            self.frozen + key: value
            for key, value in model.cls_head.clip.model.state_dict().items()}
        unknown = sorted(left.keys() - clip.keys())
        if unknown:
            raise UserError(f'{path} has keys that are not understood: '
                            + ', '.join(unknown[:8]))
        for key, value in left.items():
            if not same_in_half(value, clip[key]):
                raise UserError(f'{path} was trained on another CLIP than the one given: '
                                f'{key} differs')

    def write(self, model: CLIPRecognizer) -> dict:
        if not has_quick_gelu(model):
            raise UserError('the released code has no such model: its CLIP has GELU, the '
                            'released code QuickGELU')
        clip = model.cls_head.clip.model.state_dict()
        # What is trained stands in the place of what was frozen.
        theirs = {} if self.frozen is None else {
            self.frozen + key: value for key, value in clip.items()}
        for key, value in model.state_dict().items():
            if key in self.untrained:
                if not torch.equal(value, clip[key.rpartition('module.')[2]]):
                    raise UserError('the released code has no such model: it does not '
                                    f'train {key}')
            elif key != '_extra_state':
                names = self.their_names(key)
                value = value[None] if names[0] in self.leading else value
                theirs.update(zip(names, value.chunk(len(names))
                                  if len(names) > 1 else [value]))
        theirs.update(self.computed(model))
        content: dict[str, dict[str, Tensor]] = {
            entry: {} for entry in self.entries.values()}
        for key, value in theirs.items():
            prefix = next(prefix for prefix in self.entries if key.startswith(prefix))
            name = key.removeprefix(prefix)
            name = WRAPPER + name if prefix in self.wrapped else name
            content[self.entries[prefix]][name] = value.detach().clone().contiguous()
        return content


def has_quick_gelu(model: CLIPRecognizer) -> bool:
    """As in the code of all systems."""
    clip: LoadedCLIP = model.cls_head.clip
    mlp: Any = blocks(clip.visual.transformer)[0].mlp
    return isinstance(mlp.gelu, QuickGELU)


def same_in_half(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.half(), other.half())
