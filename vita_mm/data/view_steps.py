"""The steps of a pipeline that take, resize and crop the frames of an evaluation."""
from collections.abc import Mapping, Sequence

# Steps that take frames as the code of a system's authors does.
OF_AUTHORS = ('SegmentSample', 'RandomStrideSample')
# How a system resizes frames, and what then takes the centre, or three crops, of them.
RESIZING = {'Resize': ('CenterCrop', 'ThreeCrop'),
            'PILResize': ('RoundedCenterCrop', 'ThreeCrop'),
            'FloatResize': ('CenterCrop', 'ThreeCropToEnds')}
CENTRES = {centre for centre, _ in RESIZING.values()}
# One of each is in the pipeline of an evaluation.
CROPS = tuple(sorted({crop for crops in RESIZING.values() for crop in crops}))


def find_pixels(pipeline: Sequence[Mapping]) -> slice | None:
    """Where the frames of an evaluation are resized and cropped: the steps from the one
    to the other; None if that is not done by one step each, one after the other."""
    kinds = [step['type'] for step in pipeline]
    resizes = [place for place, kind in enumerate(kinds) if kind in RESIZING]
    crops = [place for place, kind in enumerate(kinds) if kind in CROPS]
    if len(resizes) != 1 or crops != [resizes[0] + 1]:
        return None
    return slice(resizes[0], crops[0] + 1)


def with_pixels_of(pipeline: Sequence[Mapping], other: Sequence[Mapping]
                   ) -> list[dict]:
    """A pipeline whose frames are resized and cropped as another's, where both do so;
    where it takes three crops of a frame, it still does."""
    own, theirs = find_pixels(pipeline), find_pixels(other)
    found = [dict(step) for step in pipeline]
    if own is None or theirs is None:
        return found
    resize, crop = (dict(step) for step in other[theirs])
    if found[own][1]['type'] not in CENTRES:
        resize['scale'] = (-1, crop['crop_size'])
        crop['type'] = RESIZING[resize['type']][1]
    found[own] = [resize, crop]
    return found


def with_frames_of(pipeline: Sequence[Mapping], other: Sequence[Mapping]) -> list[dict]:
    """A pipeline that takes a frame of each part of a video as another's does, where that
    does as the code of a system's authors.

    Of as many frames and clips as before: of these a dataset's protocol says how many.
    """
    own = next((step for step in other if step['type'] in OF_AUTHORS), None)
    found = [dict(step) for step in pipeline]
    for place, step in enumerate(found):
        if own is not None and step['type'] == 'UniformSample':
            count = {key: step[key] for key in ('clip_len', 'num_clips') if key in step}
            found[place] = {**{key: value for key, value in own.items()
                               if key != 'num_clips'}, **count}
    return found
