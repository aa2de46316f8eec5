"""A CLIP small enough for every test, and recognizers built on it."""
import dataclasses
import gc
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import open_clip
import pytest
import reference
import torch
import world
from mmaction.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from vita_mm.tracking import store

torch.set_num_threads(1)
# MMEngine collects garbage for each dataset: what is imported need not be looked at.
gc.freeze()
# Digests are remembered where the tests end.
CACHE = os.environ['VITA_MM_CACHE'] = tempfile.mkdtemp(prefix='vita_mm-')

CLASSES = ['riding a bike', 'air_drumming', 'yoga']
BACKBONE = dict(num_frames=4, summary=True, local=True, num_global=2)
HEAD = dict(classes=CLASSES, context='csc', num_context=3)


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='run the slow tests too')


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_collection_modifyitems(config, items):
    # Files that start processes take longest: they go first, and the others fill up.
    items.sort(key=lambda item: not starts_processes(item.module))
    for item in items:
        if 'slow' in item.keywords and not config.getoption('--slow'):
            item.add_marker(pytest.mark.skip(reason='slow: run with --slow'))
        if 'gpu' in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='needs a CUDA device'))


def starts_processes(module):
    return any(getattr(module, name, None) is getattr(world, name)
               for name in ('run', 'run_pair', 'start'))


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


def scatter(model, seed):
    """Fill all parameters with random values: a bias left at zero hides mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in sorted(model.named_parameters()):
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith('logit_scale'):
            noise = torch.tensor(2.0)
        elif 'ln_' in name or 'norm' in name:
            noise = 0.2 * noise + name.endswith('weight')
        elif noise.dim() > 1:
            noise = noise / noise[0].numel() ** 0.5
        tensor.data.copy_(noise)


@pytest.fixture(autouse=True)
def default_scope():
    """Names are looked up in MMAction2's registries, whatever an earlier test built."""
    init_default_scope('mmaction')


@pytest.fixture(scope='session', autouse=True)
def plain_configs():
    """Configs are written as they are: MMEngine formats the text of one at each call, in
    a third of the time of a tiny training."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr('mmengine.config.config.FormatCode',
                        lambda text, **options: (text, True))
        yield


@pytest.fixture(scope='session')
def empty_database(tmp_path_factory):
    """A database of MLflow's without runs, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp('mlflow') / 'mlflow.db'
    store.open_client(f'sqlite:///{path}')
    return path


@pytest.fixture(autouse=True)
def log_to_this_test():
    """MMEngine's loggers keep the output of the test that made them, which is closed by
    then. Handlers of files are left alone: they would close what they are given."""
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.stream = sys.stdout


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory):
    """Function: the file of random weights of a configuration, in float32."""
    folder = tmp_path_factory.mktemp('clip')

    def write(config=None, seed=0):
        config = config or tiny_clip_config()
        digest = hashlib.md5(f'{config} {seed}'.encode()).hexdigest()
        path = folder / f'{digest}.pt'
        if not path.exists():
            model = open_clip.CLIP(**config)
            scatter(model, seed)
            torch.save(model.state_dict(), path)
        return str(path)

    return write


@pytest.fixture
def build_model(tiny_weights):
    """Function: a recognizer on a tiny CLIP, all its tensors random.

    ``backbone`` and ``head`` go before the defaults ``BACKBONE`` and ``HEAD``, ``arch``
    is the CLIP's configuration, ``clip`` more arguments of ``load_clip``; all others
    go to the recognizer. ``scattered=False`` leaves the initialisation as it is.
    """

    def build(backbone=None, head=None, arch=None, clip=None, dtype=torch.float64,
              scattered=True, **recognizer):
        arch = arch or tiny_clip_config()
        model = MODELS.build(dict(
            type='VitaCLIP',
            clip=dict(arch=arch, pretrained=tiny_weights(arch)) | (clip or {}),
            backbone=dict(type='VitaCLIPVisionTransformer') | BACKBONE | (
                backbone or {}),
            cls_head=dict(type='VitaCLIPTextHead') | HEAD | (head or {}),
            **recognizer))
        if scattered:
            scatter(model, seed=1)
        return model.to(dtype)

    return build


def random_video(num_frames=4, views=1, clips=2):
    """Normalised frames, clips x views x 3 x T x 16 x 16, in float64."""
    generator = torch.Generator().manual_seed(2)
    shape = (clips, views, 3, num_frames, 16, 16)
    return torch.randn(shape, generator=generator).double()


def model_logits(model, video):
    """Class scores of a clip's only view."""
    return model(video, mode='tensor', stage='head')


@pytest.fixture
def check_reference(build_model, tiny_weights):
    """Function: compare logits and gradients of a model with the plain reference.

    Returns the model. Gradients are relative to their norm, with a floor: those of
    key biases are zero but for rounding.
    """

    def check(backbone=None, head=None, arch=None, num_frames=4):
        arch = arch or tiny_clip_config()
        model = build_model(backbone, head, arch)
        clip = {key: value.double() for key, value in
                torch.load(tiny_weights(arch), weights_only=True).items()}
        trained = {key: value.detach().clone().requires_grad_()
                   for key, value in model.named_parameters()}
        video = random_video(num_frames)
        expected = reference.logits(
            clip, trained, video[:, 0], reference_options(arch, backbone, head))
        given = model_logits(model, video)
        assert given.dtype == torch.float64
        assert torch.allclose(given, expected, rtol=0, atol=1e-9)

        weights = torch.randn(given.shape, generator=torch.Generator().manual_seed(3))
        (given * weights).sum().backward()
        (expected * weights).sum().backward()
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                assert parameter.grad is None, name
                continue
            wanted = trained[name].grad
            error = (parameter.grad - wanted).norm()
            assert error <= 1e-9 * wanted.norm() + 1e-12, name
        return model

    return check


def reference_options(arch, backbone=None, head=None):
    """The reference's options for a model of :func:`build_model`."""
    vision = arch['vision_cfg']
    known = {field.name for field in dataclasses.fields(reference.Options)}
    given = BACKBONE | HEAD | (backbone or {}) | (head or {})
    return reference.Options(
        vision_heads=vision['width'] // vision['head_width'],
        text_heads=arch['text_cfg']['heads'], quick_gelu=arch.get('quick_gelu', False),
        **{key: value for key, value in given.items() if key in known})


class Payload:
    """Touches a file when it is unpickled: what loading must never do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path), )
