"""What every verb needs to know of a system, whichever it is."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

VERBS = ('train', 'test', 'zero-shot', 'predict', 'rollout', 'confusion', 'costs',
         'convert', 'suite')


@dataclass(frozen=True)
class System:
    """A system that classifies videos, as its wing (its folder of ``models``) gives it.

    Attributes:
        name: of its wing, such as ``xclip``.
        title: as printed.
        paper: where it was published.
        code: its authors' repository and the commit that is followed; None without.
        config: of its training (evaluation, if nothing is trained) on the miniature.
        paper_config: the same on Kinetics-400.
        matches: whether the ``model`` of a config is of this system.
        refusals: verb to a sentence that says why it has no meaning here; it can do all
            others.
        own_frames: whether its clips have as many frames in evaluation as in training.
        long_clips: how it may read clips of more frames than it was trained on, values
            of ``long_clips`` of its backbone; the first is the usual one.
        prompts: sets of manual prompts that it was published with, which a zero-shot
            evaluation has beside those of the protocol: name to templates.
    """
    name: str
    title: str
    paper: str
    code: str | None
    config: str
    paper_config: str
    matches: Callable[[Mapping], bool]
    refusals: Mapping[str, str] = field(default_factory=dict)
    own_frames: bool = False
    long_clips: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)


def has_types(backbone: str, cls_head: str) -> Callable[[Mapping], bool]:
    """For ``System.matches``: by the registered names of the two sides."""
    def matches(model: Mapping) -> bool:
        return (model.get('backbone', {}).get('type') == backbone
                and model.get('cls_head', {}).get('type') == cls_head)
    return matches
