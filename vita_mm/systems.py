"""The systems that there are, each in its wing of :mod:`vita_mm.models`."""
from collections.abc import Mapping

from .errors import UserError
from .models import (
    actionclip,
    efficient_prompt,
    evl,
    frozen_clip,
    vifi_clip,
    vita_clip,
    xclip,
)
from .models.common.system import System

# Frozen CLIP first: its configs may be Vita-CLIP's without any prompt.
SYSTEMS = {wing.SYSTEM.name: wing.SYSTEM for wing in (
    frozen_clip, vita_clip, xclip, actionclip, evl, efficient_prompt, vifi_clip)}


def find_system(model: Mapping) -> System | None:
    """Which system the ``model`` of a config is of; None for one that is not ours."""
    return next((system for system in SYSTEMS.values() if system.matches(model)), None)


def get_system(name: str) -> System:
    """The system of a name.

    Raises:
        UserError: if there is none.
    """
    if name not in SYSTEMS:
        raise UserError(f'there is no system {name!r}, only {", ".join(SYSTEMS)}')
    return SYSTEMS[name]


def check_verb(verb: str, system: System) -> None:
    """Raises UserError if a system cannot do something, which says why."""
    if verb in system.refusals:
        raise UserError(f'{verb}: {system.refusals[verb]}')
