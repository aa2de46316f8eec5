"""What is compared, and what was found."""
import functools
from dataclasses import dataclass

from vita_mm.engine.runs import load_config
from vita_mm.errors import UserError
from vita_mm.systems import get_system

# What systems are called in files of cases, where it is not our name.
ALIASES = dict(a5='efficient_prompt', a6='efficient_prompt', vifi='vifi_clip')
# The paper's Vita-CLIP is not what the released code trains.
CONFIGS = dict(vita_clip='configs/released/vita_k400.py')


@dataclass(frozen=True)
class Finding:
    """A row of the table.

    Attributes:
        what: was compared.
        found: how far apart the two are, or why they could not be compared.
        equal: whether they count as equal; None if ours has nothing to compare.
    """
    what: str
    found: str
    equal: bool | None


def system_of(name: str):
    """The system of a name in a file of cases.

    Raises:
        UserError: if there is none.
    """
    return get_system(ALIASES.get(name, name))


@functools.cache
def config_of(name: str):
    """The config that does what the authors' code does on Kinetics-400; it is not to be
    changed.

    Raises:
        UserError: if there is no such system.
    """
    system = system_of(name)
    return load_config(CONFIGS.get(system.name, system.paper_config))


def take(mapping: dict, key: str, place: object):
    """
    Raises:
        UserError: if a file of a case lacks something.
    """
    try:
        return mapping[key]
    except (KeyError, TypeError):
        raise UserError(f'{place} lacks {key!r}: docs/parity.md says what it '
                        'holds') from None
