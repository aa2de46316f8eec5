"""A trained model on any video file."""
from pathlib import Path

import torch
from mmaction.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from vita_mm.data.dataset import describe_fault
from vita_mm.engine.zero_shot import video_features
from vita_mm.io.checkpoints import find_checkpoint, read_tensors
from vita_mm.models.common.clip import load_clip
from vita_mm.models.common.description import (
    describe,
    evaluation_pipeline,
    model_config,
    read_description,
    tell_activation,
    view_pipeline,
)

from .errors import UserError
from .models import VitaCLIP


class Predictor:
    """Says what happens in a video.

    Args:
        checkpoint: of ``tools/train.py`` or ``tools/convert_checkpoint.py``; a work dir
            stands for its last weights.
        classes: names to choose among, zero-shot, see :func:`read_classes`; by default
            the classes that the checkpoint was trained on.
        templates: manual prompts for ``classes``, see :func:`read_templates`.
        config: the config of the checkpoint, where that does not describe itself.
        clip: a file of the CLIP weights, where they are not at their old place.
        device: ``cpu``, ``cuda`` …

    Raises:
        UserError: if the checkpoint does not load, or there is no such device.

    Example::

        predictor = Predictor('vita.pth', classes=['surfing', 'juggling'])
        for name, score in predictor('clip.mp4'):
            print(f'{score:.3f} {name}')
    """

    def __init__(self, checkpoint: str | Path, classes: str | list[str] | None = None,
                 templates: str | list[str] = '{}', config: str | None = None,
                 clip: str | None = None, device: str = 'cpu') -> None:
        register_all_modules()
        description, state = read_model(checkpoint, config, clip)
        if classes is not None:
            description['cls_head'] = dict(classes=classes, context='none',
                                           templates=templates)
        self.model = build_model(description, state).eval()
        try:
            self.model.to(device)
        except (AssertionError, RuntimeError) as error:
            raise UserError(f'device={device!r} cannot be used: '
                            + str(error).splitlines()[0]) from error
        self.classes = self.model.cls_head.classes
        size = self.model.backbone.tower.module.image_size
        self.pipeline = Compose(view_pipeline(description, *size))
        with torch.no_grad():
            self.text_features = self.model.cls_head.text_features()

    def __call__(self, video: str | Path) -> list[tuple[str, float]]:
        """Class names with their probabilities, the likeliest first.

        Raises:
            UserError: if the video cannot be read.
        """
        batch = pseudo_collate([self.read(str(video))])
        with torch.no_grad():
            features, _ = video_features(self.model, batch)
            logits = self.model.cls_head.logits(
                features.to(self.text_features.device), self.text_features)
        scores, = logits.softmax(dim=-1).tolist()
        return sorted(zip(self.classes, scores), key=lambda item: -item[1])

    def read(self, video: str) -> dict:
        """One centre view of a video, packed."""
        try:
            return self.pipeline(dict(filename=video, start_index=0, modality='RGB'))
        except Exception as error:  # decoders raise many kinds
            # What follows the last semicolon is advice for lists of annotations.
            fault = describe_fault(video, error).rpartition(';')[0]
            raise UserError(f'the video {video} {fault}') from error


def read_model(checkpoint: str | Path, config: str | None = None,
               clip: str | None = None) -> tuple[dict, dict]:
    """The description of a checkpoint's model, and its tensors; see Predictor."""
    checkpoint = find_checkpoint(checkpoint)
    content = read_tensors(checkpoint)
    state = content.get('state_dict')
    if not isinstance(state, dict) or not all(
            isinstance(key, str) and isinstance(value, torch.Tensor)
            for key, value in state.items()):
        raise UserError(f'{checkpoint} is no checkpoint of vita_mm: it has no '
                        'state_dict of tensors')
    description = (describe_config(config) if config
                   else read_description(content, checkpoint))
    tell_activation(content)
    if clip is not None:
        description['clip']['pretrained'] = clip
    return description, state


def describe_config(path: str) -> dict:
    """The description of a config file's model."""
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is code
        raise UserError(f'cannot read the config {path}: {error}') from error
    return describe(config.get('model', {}), evaluation_pipeline(config))


def build_model(description: dict, state: dict) -> VitaCLIP:
    """The recognizer with its tensors.

    Raises:
        UserError: if they do not fit, or the CLIP weights cannot be had.
    """
    init_default_scope('mmaction')
    options = description['clip']
    try:
        clip = load_clip(**options)
    except UserError as error:
        raise UserError(f'{error}. The checkpoint names its CLIP so; another file of '
                        'the weights can be given (--clip FILE)') from error
    except (ArithmeticError, AttributeError, OSError, RuntimeError, TypeError,
            ValueError) as error:  # what open_clip makes of a senseless configuration
        raise UserError(f'the CLIP architecture {str(options["arch"]):.80} does not '
                        f'build: {error}') from error
    model = VitaCLIP(clip=clip, **model_config(description))
    model.load_state_dict(state)
    return model
