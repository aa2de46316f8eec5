"""Pipelines that differ from others in some steps, which are named by their types.

Nothing but the standard library is imported: config files call this too.
"""
from collections.abc import Mapping, Sequence

from vita_mm.errors import UserError


def with_steps(pipeline: Sequence[Mapping], **steps: Mapping | None) -> list[Mapping]:
    """A pipeline with other steps in the place of some; the one given stays as it is.

    Args:
        pipeline: of transforms.
        **steps: by the type of a step, of which the pipeline has one: what differs in
            it, another step (which has a ``type``), or None to leave it out.

    Raises:
        UserError: if there is no such step, or more than one.
    """
    found = []
    for name in steps:
        find_step(pipeline, name)
    for step in pipeline:
        change = steps.get(step['type'], {})
        if change is not None:
            found.append(dict(change) if 'type' in change else {**step, **change})
    return found


def find_step(pipeline: Sequence[Mapping], *types: str) -> Mapping:
    """The step of a pipeline that is of one of these types.

    Raises:
        UserError: if there is none, or more than one.
    """
    found = [step for step in pipeline if step['type'] in types]
    if len(found) != 1:
        names = ', '.join(str(step['type']) for step in pipeline)
        raise UserError(f'a pipeline with one {" or ".join(types)} is needed; this one '
                        f'has {len(found)}: {names}')
    return found[0]


def find_sampling(pipeline: Sequence[Mapping]) -> Mapping:
    """The step of a pipeline that chooses frames.

    Raises:
        UserError: if there is none, or more than one.
    """
    return find_step(pipeline, *{step['type'] for step in pipeline if 'clip_len' in step}
                     or ('SampleFrames', 'UniformSample'))
