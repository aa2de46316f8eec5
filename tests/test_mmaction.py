"""MMAction2's own tools work on our configs and models, and ours on its recognizers.

Its tools are run as they are in its wheel, by their paths and in this process.
"""
import argparse
import re
import runpy
import sys
from pathlib import Path

import cv2
import mmaction
import numpy as np
import pytest
import torch
from conftest import CLASSES as THREE
from conftest import tiny_clip_config
from mmaction.apis import MMAction2Inferencer, inference_recognizer, init_recognizer
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.utils import GradCAM
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader
from vita_mm.data.readers import PyAVReader
from vita_mm.engine.recipe import make_recipe, prepare_work_dir
from vita_mm.engine.runs import build_runner, evaluate, load_config, read_config
from vita_mm.errors import UserError
from vita_mm.io.checkpoints import find_checkpoint, read_tensors
from vita_mm.models.common import layers
from vita_mm.tracking import find_journals, guard
from world import ARCH, CLASSES, ROOT, write_world

MIM = Path(mmaction.__path__[0]) / '.mim'

PIPELINE = """
pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=8, frame_interval=4, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')]
test_pipeline = pipeline
"""
LOADERS = """
def loader(name, shuffle, **dataset):
    return dict(
        batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dict(type='VideoDataset', ann_file='{world}/' + name,
                     data_prefix=dict(video='{world}'), pipeline=pipeline, **dataset))

train_dataloader = loader('train.txt', True)
val_dataloader = test_dataloader = loader('val.txt', False, test_mode=True)
val_evaluator = test_evaluator = dict(type='AccMetric')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg, test_cfg = dict(type='ValLoop'), dict(type='TestLoop')
"""
# All that MMAction2 knows of us is the import.
STOCK = """
_base_ = ['{mim}/configs/_base_/default_runtime.py']
custom_imports = dict(imports=['vita_mm'], allow_failed_imports=False)
model = dict(
    type='VitaCLIP', clip=dict(arch={arch}, pretrained='{world}/clip.pt'),
    backbone=dict(type='VitaCLIPVisionTransformer', num_frames=8),
    cls_head=dict(type='VitaCLIPTextHead', classes={classes}, average_clips='prob'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[122.8, 116.7, 104.1],
        std=[68.5, 66.6, 70.3], format_shape='NCTHW'))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, by_epoch=True)]
default_hooks = dict(logger=dict(interval=1))
""" + PIPELINE + LOADERS
# A recognizer of MMAction2's, in the size of a test.
TSN = """
_base_ = ['{mim}/configs/recognition/tsn/'
          'tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py']
model = dict(backbone=dict(depth=18, pretrained=None),
             cls_head=dict(in_channels=512, num_classes=3))
""" + PIPELINE.replace('clip_len=8, frame_interval=4, num_clips=1',
                       'clip_len=1, frame_interval=1, num_clips=3'
                       ).replace('NCTHW', 'NCHW') + LOADERS


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A folder with videos, their lists, a CLIP, and our config ``tiny.py``."""
    folder = tmp_path_factory.mktemp('world')
    write_world(folder, num_train=8, num_val=4)
    return folder


def write_config(folder, name, text):
    path = folder / name
    path.write_text(text.replace('{world}', str(folder)).replace('{mim}', str(MIM))
                    .replace('{arch}', repr(ARCH)).replace('{classes}', repr(CLASSES)))
    return path


@pytest.fixture
def mim(monkeypatch, tmp_path):
    """Function: run a tool of MMAction2's, as from its command line."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.chdir(tmp_path)

    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        return runpy.run_path(str(MIM / 'tools' / tool), run_name='__main__')

    return run


# Its inferencers and apis


@pytest.fixture(scope='module')
def recognizer(world):
    """A model of our config, and the file of its weights."""
    model = init_recognizer(str(world / 'tiny.py'), device='cpu')
    path = world / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return model, path


@pytest.fixture(scope='module')
def forms(world):
    """The same video as a file, as an array and as a folder of pictures."""
    video = world / 'val' / '0.mp4'
    frames = np.stack(PyAVReader(str(video)).frames(list(range(30))))
    folder = world / 'frames'
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / f'img_{number:05}.jpg'), frame[..., ::-1],
                    [cv2.IMWRITE_JPEG_QUALITY, 100])
    return dict(video=str(video), array=frames, rawframes=str(folder))


@pytest.mark.parametrize('form', ['video', 'array', 'rawframes'])
def test_its_inferencer_takes_our_config(world, recognizer, forms, form, tmp_path,
                                         monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, weights = recognizer
    expected = inference_recognizer(model, forms['video']).pred_score
    given = MMAction2Inferencer(
        rec=str(world / 'tiny.py'), rec_weights=str(weights), device='cpu',
        input_format=form)(forms[form])['predictions'][0]
    scores = torch.tensor(given['rec_scores'][0])
    # Pictures were compressed once more.
    assert torch.allclose(scores, expected, atol=5e-3 if form == 'rawframes' else 1e-6)
    assert given['rec_labels'][0] == [int(expected.argmax())]
    assert not list(tmp_path.iterdir())  # nothing is tracked


def test_its_apis_take_frames(recognizer, forms):
    model, _ = recognizer
    expected = inference_recognizer(model, forms['video']).pred_score
    common = dict(total_frames=30, modality='RGB', label=-1)
    array = dict(common, array=forms['array'], start_index=0)
    pictures = dict(common, frame_dir=forms['rawframes'], start_index=1,
                    filename_tmpl='img_{:05}.jpg')
    assert torch.equal(inference_recognizer(model, array).pred_score, expected)
    assert torch.allclose(inference_recognizer(model, pictures).pred_score, expected,
                          atol=5e-3)


# Its training


def test_a_stock_config_trains_resumes_tests_and_is_published(world, mim, tmp_path):
    config = write_config(world, 'stock.py', STOCK)
    mim('train.py', config, '--work-dir', tmp_path)
    mim('train.py', config, '--work-dir', tmp_path, '--resume', '--cfg-options',
        'train_cfg.max_epochs=2')
    log = sorted(tmp_path.glob('*/*.log'))[-1].read_text()
    assert 'resumed epoch: 1' in log and 'is not HistoryBuffer' not in log
    checkpoint = tmp_path / 'epoch_2.pth'
    mim('test.py', config, checkpoint, '--work-dir', tmp_path / 'test')

    mim('deployment/publish_model.py', checkpoint, tmp_path / 'published.pth')
    published, = tmp_path.glob('published_*-????????.pth')
    video = str(world / 'val' / '0.mp4')
    scores = [inference_recognizer(init_recognizer(str(config), str(path), 'cpu'), video
                                   ).pred_score for path in (checkpoint, published)]
    assert torch.equal(*scores) and scores[0].sum() == pytest.approx(1, abs=1e-5)


def test_what_its_own_processes_wrote_is_read_without_running_any_of_it(tmp_path):
    hub = MessageHub.get_instance('older')
    for value in (0.5, 0.25):
        hub.update_scalar('train/loss', value)
    hub.update_info('best_score', np.float64(0.75))
    older = tmp_path / 'older.pth'
    torch.save(dict(state_dict={}, meta={}, message_hub=type(hub).state_dict.__wrapped__(
        hub)), older)
    found = CheckpointLoader.load_checkpoint(str(older), 'cpu')['message_hub']
    assert found['log_scalars']['train/loss'].data[0].tolist() == [0.5, 0.25]
    assert found['runtime_info']['best_score'] == 0.75
    assert read_tensors(older)['state_dict'] == {}
    # Elsewhere torch is as strict as before.
    with pytest.raises(Exception, match='Weights only load failed'):
        torch.load(older)

    class Attack:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(got=Attack()), older)
    assert read_tensors(older) == dict(got=None)


# Graphs, counted and exported


WINGS = dict(
    vita_clip=('VitaCLIPVisionTransformer', dict(num_frames=4), 'VitaCLIPTextHead', {}),
    xclip=('XCLIPVisionTransformer', dict(num_frames=4), 'XCLIPTextHead', {}),
    actionclip=('CLIPVisionTransformer',
                dict(trained=True, temporal=dict(num_positions=4, num_layers=2)),
                'ActionCLIPTextHead', dict(templates=['a {}', 'the {} of it'])),
    evl=('EVLVisionTransformer', dict(num_frames=4, num_layers=2), 'EVLHead', {}),
    frozen_clip=('CLIPVisionTransformer', {}, 'CLIPTextHead', {}))


def make_system(wing, tiny_weights):
    backbone, options, head, others = WINGS[wing]
    arch = tiny_clip_config(quick_gelu=True)
    return dict(
        type='CLIPRecognizer', clip=dict(arch=arch, pretrained=tiny_weights(arch)),
        backbone=dict(type=backbone, **options),
        cls_head=dict(type=head, classes=THREE, **others))


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('wing', WINGS)
def test_graphs_of_backbones_give_equal_outputs(wing, tiny_weights, monkeypatch):
    monkeypatch.setattr(layers, 'WORTH_ONEDNN', 1)  # as in a model of real size
    torch.manual_seed(0)
    backbone = MODELS.build(make_system(wing, tiny_weights)).backbone.eval()
    video = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        expected = backbone(video)
        traced = torch.jit.trace(backbone, video)
        other = backbone(video.flip(0))
        rounding = 1e-6 * other.abs().max().item()
        assert torch.allclose(traced(video.flip(0)), other, atol=rounding)
        exported = torch.export.export(backbone, (video, )).module()
        assert torch.allclose(exported(video.flip(0)), other, atol=rounding)
    assert not torch.allclose(expected, other)


@pytest.mark.filterwarnings('ignore')
def test_its_counter_of_operations_counts_all_products(world, mim, capsys, monkeypatch):
    monkeypatch.setattr(layers, 'WORTH_ONEDNN', 1)
    mim('analysis_tools/get_flops.py', world / 'tiny.py', '--shape', 1, 3, 8, 32, 32)
    given = float(re.search(r'Flops: ([\d.]+)M', capsys.readouterr().out)[1]) * 1e6
    # Multiplications of the products, in the tiny CLIP's sizes.
    width, frames, patches = 48, 8, 16
    tokens = 1 + patches
    unique = frames * (tokens + 1) + 8 + 8  # with summary, local and global prompts
    products = frames * patches * 3 * 8 * 8 * width + frames * width * 24
    for asking in (frames * tokens, frames * tokens, frames):
        products += width**2 * (2 * unique + 10 * asking + 5 * frames)
        products += width * 2 * (asking * (tokens + 8 + 8 + 1) + frames**2)
    assert products < given < 1.03 * products  # and the norms


# Maps of what a class was seen by


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('wing, last', [('vita_clip', 2), ('xclip', 3), ('evl', 3),
                                        ('actionclip', 2), ('frozen_clip', 2)])
def test_its_gradcam_finds_the_patches_behind_a_layer(wing, last, tiny_weights):
    model = MODELS.build(make_system(wing, tiny_weights)).eval()
    keys = [*model.state_dict()]
    generator = torch.Generator().manual_seed(0)
    data = dict(inputs=[torch.randint(256, (2, 3, 4, 16, 16), dtype=torch.uint8,
                                      generator=generator) for _ in range(2)],
                data_samples=[ActionDataSample().set_gt_label(0) for _ in range(2)])
    expected = model.test_step(data)
    seen = GradCAM(model, f'backbone/maps/{last}')
    found, scores = seen._calculate_localization_map(data, use_labels=False)
    assert found.shape == (4, 4, 16, 16)  # clips x views, frames, rows, columns
    assert found.std() > 0 and found.min() == 0 and found.max() == pytest.approx(1)
    assert [*map(int, scores.argmax(-1))] == [int(each.pred_label) for each in expected]
    blended, _ = seen(data)
    assert blended.shape == (4, 4, 16, 16, 3)
    assert [*model.state_dict()] == keys and not [key for key in keys if 'maps' in key]


def test_its_script_for_maps_takes_a_video(world, recognizer, forms, mim):
    given = mim('visualizations/vis_cam.py', world / 'tiny.py', recognizer[1],
                forms['video'], '--device', 'cpu', '--target-layer-name',
                'backbone/maps/2')
    assert given['GradCAM'] is GradCAM


def test_what_has_no_patches_says_so(tiny_weights):
    model = MODELS.build(make_system('vita_clip', tiny_weights)).eval()
    GradCAM(model, 'backbone/maps/3')
    with pytest.raises(UserError, match='take the map before'):
        model.backbone(torch.zeros(1, 3, 4, 16, 16))


# Its recognizers, by our tools


def train_and_evaluate(path, work_dir, runtime=None):
    """What tools/train.py and tools/test.py do with a config; the metrics of both.

    Args:
        runtime: keys that go over those of the config.
    """
    def read(folder):
        config = read_config(argparse.Namespace(
            config=str(path), cfg_options={'default_hooks.logger.interval': 1},
            launcher='none', work_dir=str(work_dir / folder)))
        config.merge_from_dict(runtime or {})
        return config

    config = read('train')
    lock, _ = prepare_work_dir(config)
    with lock:
        runner = build_runner(config)
        with guard(runner):
            runner.train()
    trained = runner.message_hub.get_scalar('val/acc/top1').current()
    checkpoint = find_checkpoint(work_dir / 'train')
    read_tensors(checkpoint)
    return trained, evaluate(read('test'), str(checkpoint))


def test_its_recognizer_trains_and_is_evaluated_as_it_is(world, tmp_path):
    config = write_config(world, 'tsn.py', TSN)
    trained, metrics = train_and_evaluate(config, tmp_path)
    assert metrics['acc/top1'] == trained


def test_its_recognizer_takes_our_hooks_data_and_tracking(world, tmp_path, monkeypatch):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:9')
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', 'false')
    config = write_config(world, 'tsn_ours.py', TSN.replace(
        "type='VideoDataset'", "type='ClipDataset', classes='{world}/classes.txt'"))
    runtime = {key: value for key, value in load_config(
        ROOT / 'configs/_base_/runtime.py').to_dict().items()
        if key not in ('val_cfg', 'test_cfg', 'log_processor', 'env_cfg')}
    trained, metrics = train_and_evaluate(config, tmp_path, runtime)
    assert metrics['acc/top1'] == trained and metrics['acc/videos_read'] == 4
    assert len(find_journals(tmp_path, below=True)) == 2
    assert list(tmp_path.rglob('confusion/*.csv'))

    runtime['model.cls_head.num_classes'] = 400
    with pytest.raises(UserError, match='set model.cls_head.num_classes=3'):
        train_and_evaluate(config, tmp_path / 'other', runtime)


@pytest.mark.slow
@pytest.mark.parametrize('path', sorted(
    path.relative_to(MIM / 'configs').as_posix()
    for path in (MIM / 'configs/recognition').rglob('*.py')
    if 'custom_backbones' not in path.parts))
def test_its_configs_are_read(path):
    config = load_config(MIM / 'configs' / path)
    if config.get('optim_wrapper'):
        assert make_recipe(config)
