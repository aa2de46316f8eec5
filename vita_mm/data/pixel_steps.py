"""The steps of a pipeline that resize and crop the frames of an evaluation."""
from collections.abc import Mapping, Sequence

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
