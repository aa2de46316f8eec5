"""The description of its model in a checkpoint: enough to use it without its config.

It is JSON in ``checkpoint['meta']['vita_mm']``: the name of the system, and what
:mod:`vita_mm.models.common.description` lists.
"""
import json
from collections.abc import Mapping

from .errors import UserError
from .models.common.clip import demands_quick_gelu, read_architecture
from .models.common.description import KEY, Parts, check_fields, describe_parts
from .models.common.recognizer import pack_identity, unpack_identity
from .models.common.system import System
from .systems import SYSTEMS, find_system

# Of descriptions that name no system: there was no other.
FIRST = 'vita_clip'


def describe(model: Mapping, pipeline: list[dict], classes: list[str] | None = None,
             system: System | None = None) -> dict:
    """A description of a config's model and of how it samples a view.

    Args:
        model: of a config.
        pipeline: of its evaluation.
        classes: the names, where they are not to be read from ``model`` again.
        system: that ``model`` is of; by default told by its types.

    Raises:
        UserError: if it has what a description cannot say, or a list cannot be read.
    """
    system = system or find_system(model)
    if system is None or system.parts is None:
        types = (dict(model.get(part) or {}).get('type')
                 for part in ('backbone', 'cls_head'))
        raise UserError('the config cannot be described: a {} with a {} is of no system '
                        'that vita_mm describes'.format(*types))
    return dict(describe_parts(system.parts, model, pipeline, classes),
                system=system.name)


def parts_of(description: dict) -> Parts:
    """Of the system that a description names.

    Raises:
        ValueError: if there is no such system.
    """
    name = description.get('system', FIRST)
    system = SYSTEMS.get(name) if type(name) is str else None
    if system is None or system.parts is None:
        known = [name for name, system in SYSTEMS.items() if system.parts is not None]
        raise ValueError(f'system is none of {", ".join(known)}')
    return system.parts


def read_description(checkpoint: dict, path: str) -> dict:
    """The description in a checkpoint, checked; it names its system.

    Raises:
        UserError: if there is none, or a field is missing, unknown or not what it is to
            be.
    """
    meta = checkpoint.get('meta')
    text = meta.get(KEY) if isinstance(meta, dict) else None
    if text is None:
        raise UserError(f'{path} does not say what model it is of: give its config '
                        '(--config CONFIG)')
    try:
        description = json.loads(text)
        if type(description) is not dict:
            raise ValueError('it is no object')
        parts = parts_of(description)
        system = description.pop('system', FIRST)
        check_fields(description, parts)
    except (RecursionError, TypeError, ValueError) as error:
        raise UserError(f'{path} describes its model in a way that is not understood '
                        f'({error}): give its config (--config CONFIG)') from error
    return dict(description, system=system)


def tell_activation(checkpoint: dict) -> None:
    """Write the activation of an old checkpoint's CLIP from its description, where there
    is one, to where ``check_settings`` of its recognizer compares it."""
    state = checkpoint.get('state_dict')
    if not isinstance(state, dict) or '_extra_state' not in state:
        return
    try:
        clip = read_description(checkpoint, '')['clip']
        identity = unpack_identity(state['_extra_state'])
        quick_gelu = clip.get('quick_gelu')
        if quick_gelu is None and isinstance(clip['arch'], str):
            quick_gelu = demands_quick_gelu(clip['arch'], str(clip.get('pretrained')))
        if quick_gelu is None:
            quick_gelu = bool(read_architecture(clip['arch']).get('quick_gelu'))
    except UserError:  # no description, or another fault that loading names
        return
    if identity['clip']['settings'] is None:
        identity['clip']['quick_gelu'] = quick_gelu
        state['_extra_state'] = pack_identity(**identity)
