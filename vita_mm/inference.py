"""A model on any video file: of a checkpoint, or frozen CLIP as it is."""
from pathlib import Path

import torch
from mmaction.registry import MODELS
from mmaction.utils import register_all_modules
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from .data.dataset import describe_fault
from .description import describe, parts_of, read_description, tell_activation
from .engine.runs import load_config
from .engine.zero_shot import video_features
from .errors import UserError
from .io.checkpoints import find_checkpoint, read_tensors
from .io.files import locate
from .labels.class_names import read_classes, told_apart
from .models import CLIPRecognizer
from .models.common.clip import load_clip
from .models.common.description import evaluation_pipeline, model_config, view_pipeline
from .models.common.pixels import pixels
from .systems import SYSTEMS, check_verb

# What is used where nothing else is said.
CLIP = dict(arch='ViT-B-16', pretrained='openai')
NUM_FRAMES = 8


class Predictor:
    """Says what happens in a video.

    Args:
        checkpoint: of ``vita-mm train`` or ``vita-mm convert``; a work dir stands for its
            last weights. None for a system of which nothing is trained.
        classes: names to choose among, zero-shot, see :func:`read_classes`; by default
            the classes that the checkpoint was trained on.
        templates: manual prompts for ``classes``, see :func:`read_templates`; by default
            those of the checkpoint, else the name alone.
        config: the config of the checkpoint, where that does not describe itself, or of a
            system of which nothing is trained.
        clip: the CLIP, where its weights are not at their old place or there is neither
            checkpoint nor config, see :func:`parse_clip`; by default OpenAI's ViT-B/16.
        device: ``cpu``, ``cuda`` …
        system: the name of one of which nothing is trained (``frozen_clip``), in place of
            a checkpoint and a config.
        num_frames: that are seen of a video, with ``system``.

    Raises:
        UserError: if the checkpoint does not load, its system cannot do what is asked,
            or there is no such device.

    Example::

        predictor = Predictor('vita.pth', classes=['surfing', 'juggling'])
        for name, score in predictor('clip.mp4'):
            print(f'{score:.3f} {name}')
    """

    def __init__(self, checkpoint: str | Path | None = None,
                 classes: str | list[str] | None = None,
                 templates: str | list[str] | None = None, config: str | None = None,
                 clip: str | None = None, device: str = 'cpu', system: str | None = None,
                 num_frames: int = NUM_FRAMES) -> None:
        register_all_modules()
        if system is not None and (checkpoint, config) == (None, None):
            description, state = describe_untrained(
                system, classes, templates, clip, num_frames), None
        else:
            description, state = read_model(checkpoint, config, clip)
            if classes is not None:
                classes = read_classes(classes)
                description['cls_head'] = on_classes(description, classes, templates)
        self.model = build_model(description, state).eval()
        try:
            self.model.to(device)
        except (AssertionError, RuntimeError) as error:
            raise UserError(f'device={device!r} cannot be used: '
                            + str(error).splitlines()[0]) from error
        self.system = SYSTEMS[description['system']]
        self.classes = told_apart(self.model.cls_head.classes)
        size = self.model.backbone.tower.module.image_size
        self.pipeline = Compose(view_pipeline(description, *size))

    def __call__(self, video: str | Path) -> list[tuple[str, float]]:
        """Class names with their probabilities, the likeliest first; of classes of one
        name, which released checkpoints may have, each with its id.

        Raises:
            UserError: if the video cannot be read.
        """
        batch = pseudo_collate([self.read(str(video))])
        with torch.no_grad():
            features, _ = video_features(self.model, batch)
            device = next(self.model.parameters()).device
            logits = self.model.cls_head(features.to(device))
        scores, = logits.softmax(dim=-1).tolist()
        return sorted(zip(self.classes, scores), key=lambda item: -item[1])

    def read(self, video: str) -> dict:
        """One centre view of a video, packed."""
        try:
            view = self.pipeline(dict(filename=video, start_index=0, modality='RGB'))
        except Exception as error:  # decoders raise many kinds
            # What follows the last semicolon is advice for lists of annotations.
            fault = describe_fault(video, error).rpartition(';')[0]
            raise UserError(f'the video {video} {fault}') from error
        assert view is not None  # its transforms drop no video
        return view


def read_model(checkpoint: str | Path | None, config: str | None = None,
               clip: str | None = None) -> tuple[dict, dict | None]:
    """The description of a checkpoint's model, and its tensors; see Predictor.

    Raises:
        UserError: if there is none and its system is a trained one, or it is not
            understood.
    """
    content, state = {}, None
    if checkpoint is not None:
        checkpoint = find_checkpoint(checkpoint)
        content = read_tensors(checkpoint)
        state = content.get('state_dict')
        if not isinstance(state, dict) or not all(
                isinstance(key, str) and isinstance(value, torch.Tensor)
                for key, value in state.items()):
            raise UserError(f'{checkpoint} is no checkpoint of vita_mm: it has no '
                            'state_dict of tensors')
    if config is not None:
        description = describe_config(config)
    elif checkpoint is not None:
        description = read_description(content, str(checkpoint))
    else:
        raise UserError('there is no model: give a checkpoint, or the config or name of '
                        'a system of which nothing is trained')
    if checkpoint is None:
        check_untrained(description['system'])
    tell_activation(content)
    if clip is not None:
        description['clip'].update(parse_clip(clip))
    return description, state


def describe_config(path: str) -> dict:
    """The description of a config file's model."""
    config = load_config(path)
    return describe(config.get('model') or {}, evaluation_pipeline(config))


def check_untrained(name: str) -> None:
    """Raises UserError unless a system works without weights of its own."""
    untrained = [system for system in SYSTEMS.values() if 'train' in system.refusals]
    if name not in SYSTEMS:
        raise UserError(f'there is no system {name!r}; without a checkpoint there is '
                        + ', '.join(system.name for system in untrained))
    if SYSTEMS[name] not in untrained:
        raise UserError(f'{SYSTEMS[name].title} needs weights that were trained: give '
                        'its checkpoint')


def describe_untrained(system: str, classes: str | list[str] | None,
                       templates: str | list[str] | None = None,
                       clip: str | None = None, num_frames: int = NUM_FRAMES) -> dict:
    """The description of a system without weights of its own; see Predictor."""
    check_untrained(system)
    if classes is None:
        raise UserError(f'{SYSTEMS[system].title} has no classes of its own: give the '
                        'names to choose among')
    options = CLIP | parse_clip(clip) if clip is not None else CLIP
    # Its prompts are templates only.
    head = dict(classes=classes, templates='{}' if templates is None else templates)
    return describe(
        dict(clip=options, cls_head=head, data_preprocessor=pixels(options)),
        [dict(type='UniformSample', clip_len=num_frames)], system=SYSTEMS[system])


def parse_clip(text: str) -> dict:
    """Arguments of :func:`load_clip`: of a file of weights its path alone; of
    ``ARCH:WEIGHTS`` both, an architecture (a name of open_clip or a json file) with a tag
    of open_clip or a file, such as ``ViT-B-16:openai``."""
    arch, colon, weights = text.partition(':')
    if not colon or not weights or Path(locate(text)).exists():
        return dict(pretrained=text)
    return dict(arch=arch, pretrained=weights)


def on_classes(description: dict, classes: str | list[str],
               templates: str | list[str] | None = None) -> dict:
    """The options of a described head on other classes.

    Raises:
        UserError: if its system knows no other classes, or has no templates.
    """
    check_verb('zero-shot', SYSTEMS[description['system']])
    return parts_of(description).on_classes(description['cls_head'], classes, templates)


def build_model(description: dict, state: dict | None) -> CLIPRecognizer:
    """The recognizer with its tensors; None where nothing was trained.

    Raises:
        UserError: if they do not fit, or the CLIP weights cannot be had.
    """
    init_default_scope('mmaction')
    options = description['clip']
    try:
        clip = load_clip(**options)
    except UserError as error:
        named = '' if state is None else ' than the one that the checkpoint names'
        raise UserError(f'{error}; --clip FILE, or ARCH:FILE, takes another{named}'
                        ) from error
    except (ArithmeticError, AttributeError, OSError, RuntimeError, TypeError,
            ValueError) as error:  # what open_clip makes of a senseless configuration
        raise UserError(f'the CLIP architecture {str(options["arch"]):.80} does not '
                        f'build: {error}') from error
    model = MODELS.build(dict(model_config(description, parts_of(description)),
                              clip=clip))
    if state is not None:
        model.load_state_dict(state)
    return model
