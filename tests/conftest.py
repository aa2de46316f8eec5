"""A CLIP small enough for every test, and recognizers built on it."""
from pathlib import Path

import pytest
import torch
import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import open_clip
from mmaction.registry import MODELS
from mmengine.registry import init_default_scope

torch.set_num_threads(1)
init_default_scope('mmaction')

CLASSES = ['riding a bike', 'air_drumming', 'yoga']
BACKBONE = dict(num_frames=4, summary=True, local=True, num_global=2)
HEAD = dict(classes=CLASSES, context='csc', num_context=3)


def pytest_configure(config):
    config.addinivalue_line('markers', 'gpu: needs a CUDA device')


def tiny_clip_config(vision=None, text=None, **top):
    """An open_clip configuration with 4 patches a frame; all widths differ.

    Args:
        vision, text (dict): What to change in ``vision_cfg`` and ``text_cfg``.
        top: What to change beside them, such as ``quick_gelu=True``.
    """
    return dict(
        dict(embed_dim=24,
             vision_cfg=dict(dict(image_size=16, patch_size=8, width=32, layers=3,
                                  head_width=8), **(vision or {})),
             text_cfg=dict(dict(context_length=77, vocab_size=49408, width=16,
                                heads=2, layers=2), **(text or {}))),
        **top)


def scatter(named_tensors, seed):
    """Fill tensors with random values, so that no zero bias hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(named_tensors, key=lambda pair: pair[0]):
        noise = torch.randn(tensor.shape, generator=generator)
        norm = name.split('.')[-2].startswith(('ln_', 'norm')) if '.' in name else False
        if norm and name.endswith('weight'):
            tensor.data.copy_(1 + 0.2 * noise)
        elif name.endswith('logit_scale'):
            tensor.data.fill_(2.0)
        else:
            # Matrices keep the size of what they multiply.
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 10
            tensor.data.copy_(noise / max(fan_in, 1) ** 0.5)


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Function that writes random weights of a configuration and gives the file."""
    written = {}

    def write(config=None, seed=0):
        config = config or tiny_clip_config()
        key = f'{config} {seed}'
        if key not in written:
            model = open_clip.CLIP(**config)
            scatter(model.named_parameters(), seed)
            folder = tmp_path_factory.mktemp('clip')
            written[key] = str(Path(folder) / 'weights.pt')
            torch.save(model.state_dict(), written[key])
        return written[key]

    return write


@pytest.fixture
def build_model(tiny_weights):
    """Function that builds a recognizer on a tiny CLIP, all its tensors random.

    ``backbone`` and ``head`` change the defaults ``BACKBONE`` and ``HEAD``, ``arch``
    is the CLIP's configuration, ``clip`` and ``recognizer`` go to the recognizer.
    """

    def build(backbone=None, head=None, arch=None, clip=None, dtype=torch.float64,
              **recognizer):
        arch = arch or tiny_clip_config()
        clip = dict(dict(arch=arch, pretrained=tiny_weights(arch)), **(clip or {}))
        model = MODELS.build(dict(
            type='VitaCLIP', clip=clip,
            backbone=dict(type='VitaCLIPVisionTransformer', **BACKBONE, **{}) | (
                backbone or {}),
            cls_head=dict(type='VitaCLIPTextHead') | HEAD | (head or {}),
            **recognizer))
        scatter(model.named_parameters(), seed=1)
        return model.to(dtype)

    return build
