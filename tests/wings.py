"""A small model of every system, as a config has it."""
from pathlib import Path

from conftest import CLASSES, scatter, tiny_clip_config
from mmaction.registry import MODELS

# Two heads of the joint space.
ARCH = tiny_clip_config(embed_dim=128, quick_gelu=True)
ACTIONCLIP = dict(
    backbone=dict(type='CLIPVisionTransformer', trained=True,
                  temporal=dict(num_positions=77, num_layers=2, eps=1e-2)),
    cls_head=dict(type='ActionCLIPTextHead', templates=['a {}', 'the {} of it']))
A5 = dict(
    backbone=dict(type='CLIPVisionTransformer', temporal=dict(
        num_positions=6, num_layers=2, residual=False, linear_std=None)),
    cls_head=dict(type='EfficientPromptTextHead', num_context=5))
EVL = dict(backbone=dict(type='EVLVisionTransformer', num_frames=4, num_layers=2),
           cls_head=dict(type='EVLHead'))
VIFI = dict(backbone=dict(type='CLIPVisionTransformer', trained=True),
            cls_head=dict(type='VitaCLIPTextHead', context='none', trained=True,
                          train_embedding=False, templates='a photo of a {}.'))
XCLIP = dict(backbone=dict(type='XCLIPVisionTransformer', num_frames=4),
             cls_head=dict(type='XCLIPTextHead'))
FROZEN = dict(backbone=dict(type='CLIPVisionTransformer'),
              cls_head=dict(type='CLIPTextHead', templates='a {}'))
VITA = dict(
    backbone=dict(type='VitaCLIPVisionTransformer', num_frames=4, num_global=2),
    cls_head=dict(type='VitaCLIPTextHead', context='uc', num_context=3))
TINY = dict(frozen_clip=FROZEN, vita_clip=VITA, xclip=XCLIP, actionclip=ACTIONCLIP,
            evl=EVL, efficient_prompt=A5, vifi_clip=VIFI)
PIPELINE = [
    dict(type='OpenVideo'),
    dict(type='UniformSample', clip_len=4, test_mode=True),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 16)),
    dict(type='CenterCrop', crop_size=16),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')]


def model_of(name: str, weights: str, **head) -> dict:
    """The ``model`` of a config of a system, on the CLIP of a file."""
    parts = TINY[name]
    return dict(
        type='VitaCLIP' if name == 'vita_clip' else 'CLIPRecognizer',
        clip=dict(arch=ARCH, pretrained=weights), backbone=parts['backbone'],
        cls_head=dict(parts['cls_head'], classes=CLASSES, **head),
        data_preprocessor=dict(type='ActionDataPreprocessor', mean=[120., 110., 100.],
                               std=[60., 61., 62.], format_shape='NCTHW'))


def write_config(path: Path, model: dict, pipeline: list = PIPELINE) -> str:
    path.write_text(f'model = {model!r}\n'
                    f'test_dataloader = dict(dataset=dict(pipeline={pipeline!r}))\n')
    return str(path)


def build_tiny(model: dict, exact_in_half: bool = False):
    """The model of a config, all that is trained random, in evaluation mode."""
    built = MODELS.build(model).eval()
    scatter(built, seed=4)
    if exact_in_half:
        for parameter in built.parameters():
            parameter.data = parameter.half().float()
    return built
