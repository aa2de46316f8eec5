"""Frames and pixels of a config's training and evaluation, in the recipes' words."""
from collections.abc import Callable, Mapping

from mmengine.config import Config

from vita_mm.engine.pipelines import find_sampling

ABSENT = 'none'


def training_data(config: Config) -> dict[str, str]:
    """Frames and pixels of a training, in words."""
    pipeline = config.train_dataloader.dataset.pipeline
    sampling = find_sampling(pipeline)
    found: dict[str, str] = dict.fromkeys(
        ('training resize', 'RandAugment', 'training crop', 'training size', 'flip',
         'colour jitter', 'grey', 'other training steps'), ABSENT)
    order = []
    for step in pipeline:
        if step is sampling or step['type'] in SILENT:
            continue
        for key, text in tell_step(step).items():
            key = key if key in found else f'training {key}'
            if key not in found:
                key, text = 'other training steps', f'{step["type"]}: {text}'
            found[key] = text if found[key] == ABSENT else f'{found[key]}; {text}'
            order.append(key.removeprefix('training '))
    preprocessor = config.model.data_preprocessor
    return {'training frames': tell_frames(sampling),
            **short_videos(sampling, 'training'), **found,
            'training order': ', '.join(order),
            **{key: ', '.join(f'{value:.3f}' for value in preprocessor[key])
               for key in ('mean', 'std')},
            'channels': 'BGR' if preprocessor.get('to_rgb') else 'RGB'}


def evaluation(config: Config) -> dict[str, str]:
    """Frames, views and pixels of an evaluation, in words."""
    pipeline = config.test_dataloader.dataset.pipeline
    sampling = find_sampling(pipeline)
    found: dict[str, str] = dict.fromkeys(
        ('evaluation resize', 'evaluation crop', 'other evaluation steps'), ABSENT)
    crops = 1
    for step in pipeline:
        if step is sampling or step['type'] in SILENT:
            continue
        crops = 3 if step['type'].startswith('ThreeCrop') else crops
        for key, text in tell_step(step).items():
            key = f'evaluation {key}'
            if key not in found:
                key, text = 'other evaluation steps', f'{step["type"]}: {text}'
            found[key] = text if found[key] == ABSENT else f'{found[key]}; {text}'
    clips = sampling.get('num_clips', 1)
    scores = {'prob': 'softmax, then mean', 'score': 'mean'}
    if clips * crops > 1:
        found['scores of views'] = scores[config.model.cls_head.average_clips]
    if clips > 1:
        found['clips of a video'] = ('drawn as in training' if drawn(sampling)
                                     else 'evenly spread')
    return {'evaluation frames': tell_frames(sampling),
            **short_videos(sampling, 'evaluation'), 'views': f'{clips}x{crops}', **found,
            'left over in evaluation': tell_rest(config.test_dataloader)}


def tell_rest(loader: Mapping) -> str:
    """What becomes of videos that are too few for a batch."""
    return 'dropped' if loader.get('drop_last') else 'kept'


def drawn(sampling: Mapping) -> bool:
    """Whether the clips of an evaluation are drawn at random."""
    return sampling.get('clips') == 'drawn'


def tell_frames(step: Mapping) -> str:
    """The frames of a clip."""
    frames, kind = step['clip_len'], step['type']
    if kind in PARTS:
        taken = 'the middle' if step.get('test_mode') else 'one drawn'
        return f'{frames}, {taken} of each part, {PARTS[kind](step)}'
    if kind == 'RandomStrideSample':
        return (f'{frames} at a stride drawn of '
                f'{", ".join(str(stride) for stride in step["strides"])}')
    if kind not in ('SampleFrames', 'TightSampleFrames'):
        return f'{kind}: {words({key: step[key] for key in step if key != "type"})}'
    stride = step.get('frame_interval', 1)
    room = ((frames - 1) * stride + 1 if kind == 'TightSampleFrames' or
            step.get('test_mode') else frames * stride)
    return f'{frames} at stride {stride}' + (
        '' if step.get('test_mode') else f', anywhere that has {room} frames')


# How a video is cut into as many parts as a clip has frames.
PARTS: dict[str, Callable[[Mapping], str]] = {
    'UniformSample': lambda step: 'as MMAction2 cuts them',
    'SegmentSample': lambda step: {
        'xclip': 'n // T frames each' if not step.get('test_mode') else 'n / T each',
        'actionclip': 'as equal as whole frames can be' if not step.get('test_mode')
                      else 'n / T each'}[step.get('rule', 'xclip')]}
OUT_OF_BOUND = {'loop': 'from the beginning again', 'repeat_last': 'last frame taken',
                'last_frame': 'last frame'}


def short_videos(sampling: Mapping, of: str) -> dict[str, str]:
    """What continues a video that is shorter than a clip, where a stride makes it so."""
    if sampling['type'] == 'RandomStrideSample':
        return {f'short videos, {of}': 'last frame'}
    if sampling['type'] in PARTS:
        return {}
    option = sampling.get('out_of_bound_opt', 'loop')
    return {f'short videos, {of}': OUT_OF_BOUND[option]}


SILENT = {'OpenVideo', 'DecodeFrames', 'FormatShape', 'PackActionInputs'}
RESIZING = {'Resize': ('OpenCV bilinear', 'rounded'),
            'PILResize': ('PIL {interpolation}', 'cut off'),
            'FloatResize': ('float32 bilinear, not smoothed', 'cut off')}
CROPPING = {'CenterCrop': 'centre {}, cut off', 'RoundedCenterCrop': 'centre {}, rounded',
            'ThreeCrop': 'three of {}, in steps of half the rest',
            'ThreeCropToEnds': 'three of {}, to the ends'}


def tell_step(step: Mapping) -> dict[str, str]:
    """What a step does to the pixels: words by ``resize``, ``size``, ``crop``, ``flip``,
    ``colour jitter``, ``grey`` and ``RandAugment``; one that is not known by its name."""
    kind = step['type']
    if kind in RESIZING:
        method, longer = RESIZING[kind]
        method = method.format(interpolation=step.get('interpolation', 'bicubic'))
        width, height = step['scale']
        if min(width, height) == -1:
            return {'resize': f'shorter side {max(width, height)}, {method}, '
                              f'longer {longer}'}
        return {'size': f'{width}×{height}, {method}'}
    if kind in CROPPING:
        return {'crop': CROPPING[kind].format(step['crop_size'])}
    if kind == 'MultiScaleCrop':
        places = 'any place' if step.get('random_crop') else \
            f'{step.get("num_fixed_crops", 5)} places'
        return {'crop': f'scales {", ".join(f"{each:g}" for each in step["scales"])}, '
                        f'{step.get("max_wh_scale_gap", 1)} apart, {places}'}
    if kind == 'RandAugmentCrop':
        least, most = step.get('area_range', (0.08, 1.))
        return {'RandAugment': f'{step["policy"]}, {step.get("interpolation", "bicubic")}'
                               ', once a clip',
                'crop': f'area {least:g} to {most:g}, ratio 3/4 to 4/3'}
    if kind == 'FrameRandAugment':
        return {'RandAugment': f'{step["num_ops"]} of 16 at {step["magnitude"]} of 30, '
                               f'{how_often(step)}'}
    if kind == 'Flip':
        return {'flip': f'{step["flip_ratio"]:g}'}
    if kind == 'RandomApply' and len(step['transforms']) == 1:
        return {key: f'{step["prob"]:g} of clips: {text}'
                for key, text in tell_step(step['transforms'][0]).items()}
    if kind in ('TorchVisionWrapper', 'FrameTransform'):
        return tell_torchvision(step)
    return {kind: words({key: step[key] for key in step if key != 'type'})}


def tell_torchvision(step: Mapping) -> dict[str, str]:
    """A transform of torchvision."""
    share = f'{step["prob"]:g} of clips' if 'prob' in step else ''
    if step['op'] == 'ColorJitter':
        ranges = ', '.join(f'{step[key]:g}' for key in (
            'brightness', 'contrast', 'saturation', 'hue'))
        text = f'{ranges}, {how_often(step)}'
        return {'colour jitter': f'{share}: {text}' if share else text}
    if step['op'] == 'RandomGrayscale':
        return {'grey': f'{step["p"]:g} of clips'}
    if step['op'] == 'Grayscale':
        return {'grey': share or 'all'}
    return {step['op']: words({key: step[key] for key in step if key != 'type'})}


def how_often(step: Mapping) -> str:
    """Whether a step draws for each frame or for all of a clip."""
    frame = step.get('draws', 'frame' if step['type'].startswith('Frame') else 'clip')
    return 'each frame' if frame == 'frame' else 'once a clip'


def words(options: Mapping | None) -> str:
    return ', '.join(f'{key} {value}' for key, value in (options or {}).items()) or ABSENT


def tell_mixing(blending: Mapping | None) -> str:
    if not blending:
        return ABSENT
    each = blending.get('augments', [blending])
    text = ' or '.join(f'{one["type"].removesuffix("Blending").lower()} {one["alpha"]:g}'
                       for one in each)
    if len(each) == 1:
        return text
    shares = blending.get('probs')
    return f'{text} ({", ".join(map(str, shares))})' if shares else f'{text}, as likely'
