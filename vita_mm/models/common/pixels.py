"""How the frames for a CLIP are normalised."""
from collections.abc import Mapping

import numpy as np
import open_clip
from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD


def pixels(clip: Mapping) -> dict[str, list[float]]:
    """Mean and standard deviation of grey levels: as the tag of a CLIP says, else as
    OpenAI's.

    Args:
        clip: arguments of :func:`load_clip`.
    """
    tag = {}
    if isinstance(clip['arch'], str):
        tag = open_clip.get_pretrained_cfg(clip['arch'], str(clip['pretrained']))
    mean = tag.get('mean', open_clip.OPENAI_DATASET_MEAN)
    std = tag.get('std', open_clip.OPENAI_DATASET_STD)
    return levels(mean, std)


def levels(mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, list[float]]:
    """Those of pixels from 0 to 255, of those from 0 to 1."""
    return {name: [255 * part for part in parts]
            for name, parts in (('mean', mean), ('std', std))}


def untrained_pixels(clip: Mapping, preprocessor: Mapping) -> dict:
    """A data preprocessor as it is for a CLIP that nothing was trained with.

    X-CLIP and ViFi-CLIP train CLIP on frames that are normalised with the mean of
    ImageNet; as it was published, it was trained on others.
    """
    found = {key: value for key, value in preprocessor.items() if key != 'to_rgb'}
    imagenet = levels(IMAGENET_MEAN, IMAGENET_STD)
    if all(np.allclose(found[name], imagenet[name]) for name in imagenet):
        found.update(pixels(clip))
    return found
