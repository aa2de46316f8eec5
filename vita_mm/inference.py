"""A trained model on any video file."""
from pathlib import Path

import torch
from mmaction.registry import MODELS
from mmaction.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from .checkpoints import read_tensors
from .data.dataset import run_pipeline
from .description import describe, model_config, read_description, view_pipeline
from .errors import UserError
from .models import VitaCLIP


class Predictor:
    """Says what happens in a video.

    Args:
        checkpoint: of ``tools/train.py`` or ``tools/convert_checkpoint.py``.
        classes: names to choose among, zero-shot, see :func:`read_classes`; by default
            the classes that the checkpoint was trained on.
        templates: manual prompts for ``classes``, see :func:`read_templates`.
        config: the config of the checkpoint, where that does not describe itself.
        clip: a file of the CLIP weights, where they are not at their old place.
        device: ``cpu``, ``cuda`` …

    Raises:
        UserError: if the checkpoint does not load.

    Example::

        predictor = Predictor('vita.pth', classes=['surfing', 'juggling'])
        for name, score in predictor('clip.mp4'):
            print(f'{score:.3f} {name}')
    """

    def __init__(self, checkpoint: str, classes: str | list[str] | None = None,
                 templates: str | list[str] = '{}', config: str | None = None,
                 clip: str | None = None, device: str = 'cpu') -> None:
        register_all_modules()
        description, state = read_model(checkpoint, config, clip)
        if classes is not None:
            description['cls_head'] = dict(classes=classes, context='none',
                                           templates=templates)
        self.model = build_model(description, state).to(device).eval()
        self.classes = self.model.cls_head.classes
        size = self.model.backbone.tower.module.image_size
        self.pipeline = Compose(view_pipeline(description, *size))

    def __call__(self, video: str | Path) -> list[tuple[str, float]]:
        """Class names with their probabilities, the likeliest first.

        Raises:
            UserError: if the video cannot be read.
        """
        packed = run_pipeline(self.pipeline, dict(
            filename=str(video), start_index=0, modality='RGB'))
        with torch.no_grad():
            sample, = self.model.test_step(pseudo_collate([packed]))
        scores = sample.pred_score.tolist()
        return sorted(zip(self.classes, scores), key=lambda item: -item[1])


def read_model(checkpoint: str, config: str | None = None, clip: str | None = None
               ) -> tuple[dict, dict]:
    """The description of a checkpoint's model, and its tensors; see Predictor."""
    content = read_tensors(checkpoint)
    if config is None:
        description = read_description(content, checkpoint)
    else:
        whole = Config.fromfile(config)
        description = describe(whole.model, whole.test_dataloader.dataset.pipeline)
    if clip is not None:
        description['clip']['pretrained'] = clip
    if not isinstance(content.get('state_dict'), dict):
        raise UserError(f'{checkpoint} has no state_dict: it is no checkpoint of vita_mm')
    return description, content['state_dict']


def build_model(description: dict, state: dict) -> VitaCLIP:
    """The recognizer with its tensors.

    Raises:
        UserError: if they do not fit, or the CLIP weights cannot be had.
    """
    init_default_scope('mmaction')
    try:
        model = MODELS.build(model_config(description))
    except UserError as error:
        if 'pretrained=' not in str(error):
            raise
        raise UserError(f'{error}; the checkpoint names its CLIP so: give the file of '
                        'the weights as `clip`') from error
    model.load_state_dict(state)
    return model
