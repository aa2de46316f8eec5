"""Anyone's system is a row of a suite: the page that builds one, and others like it."""
import re
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.config import Config
import world
from world import ARCH, ROOT, write_video

from vita_mm.engine.runs import build_runner, load_config, use_trained_model
from vita_mm.errors import UserError
from vita_mm.harness.run.inputs import check_code
from vita_mm.harness.run.plan import Plan
from vita_mm.harness.run.records import Manifest
from vita_mm.harness.spec.suite import read_suite
from vita_mm.io.files import write_json

PAGE = ROOT / 'docs' / 'your-own-system.md'
CLASSES = ['red bar', 'green bar', 'blue bar', 'grey bar', 'black bar']
SUITE = """
title: mine
compared: order
tables:
  t:
    title: Table
    columns: {{top1: {{title: Top-1}}}}
    rows:
{}
"""
# A whole recognizer, in one file that knows nothing of this package.
RECOGNIZER = """
from mmaction.models import BaseRecognizer
from mmaction.registry import MODELS
from mmengine.model import BaseModule
from my_layers import WIDTH
from torch import nn

@MODELS.register_module()
class MyBackbone(BaseModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(3, WIDTH, (1, 8, 8), (1, 8, 8))

    def forward(self, video):
        return self.layer(video)

@MODELS.register_module()
class MyRecognizer(BaseRecognizer):
    def extract_feat(self, inputs, stage='neck', data_samples=None, test_mode=False):
        return self.backbone(inputs.flatten(0, 1)), {}
"""
MODEL = """
model = dict(
    type={recognizer}, backbone=dict(type={backbone}),
    data_preprocessor=dict(type='ActionDataPreprocessor', format_shape='NCTHW',
                           mean=[120., 120., 120.], std=[60., 60., 60.]),
    cls_head=dict(type='I3DHead', num_classes=5, in_channels=4, average_clips='prob'))
"""
MINE = "_base_ = 'data.py'\ncustom_imports = dict(imports=['my_recognizer'])\n" + \
    MODEL.format(recognizer="'MyRecognizer'", backbone="'MyBackbone'")
# In MMEngine's newer style, in which types are classes.
PURE = """
from mmengine.config import read_base

with read_base():
    from .data import *
from my_recognizer import MyBackbone, MyRecognizer
""" + MODEL.format(recognizer='MyRecognizer', backbone='MyBackbone')
DATA = """
pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2, test_mode=True),
    dict(type='DecodeFrames'), dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]

def loader(name):
    return dict(batch_size=2, num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='VideoDataset', ann_file=f'data/mini/k400_{name}.txt',
                             data_prefix=dict(video='data/mini'), pipeline=pipeline))

train_dataloader, test_dataloader = loader('train'), loader('val')
test_evaluator = dict(type='AccMetric')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
auto_scale_lr = dict(enable=False, base_batch_size=2)
default_scope = 'mmaction'
"""
TSN = "_base_ = 'mmaction::_base_/models/tsn_r50.py'\n" + DATA.replace(
    'NCTHW', 'NCHW') + """
model = dict(backbone=dict(depth=18, pretrained=None),
             cls_head=dict(num_classes=5, in_channels=512))
"""


def blocks():
    """The files of the page, by name, and its commands."""
    text = PAGE.read_text()
    files, commands = {}, []
    for before, kind, content in re.findall(
            r'([^\n]*\n[^\n]*)\n\n```(\w+)\n(.*?)```', text, re.DOTALL):
        if kind == 'bash':
            commands += content.splitlines()
        else:
            files[re.findall(r'`([\w.]+\.(?:py|yaml))`', before)[-1]] = content
    return files, commands


def write_mini(folder):
    """In the place of the miniature: as many classes as a test needs."""
    for name in ('train', 'val'):
        lines = []
        for index in range(8):
            file = f'videos/{name}{index}.mp4'
            write_video(folder / file, 12, colour=index % 3)
            lines.append(f'{file} {index % 3}\n')
        (folder / f'k400_{name}.txt').write_text(''.join(lines))
    (folder / 'k400_classes.txt').write_text('\n'.join(CLASSES) + '\n')
    arch = dict(ARCH, vision_cfg=dict(ARCH['vision_cfg'], image_size=48, layers=1))
    (folder / 'clip').mkdir()
    write_json(folder / 'clip' / 'ViT-Mini.json', arch)
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**arch).state_dict(), folder / 'clip' / 'vit_mini.pt')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """An empty folder in which the files of the page were written."""
    folder = tmp_path_factory.mktemp('own')
    for name, content in blocks()[0].items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope='module')
def own(place):
    """The same, with configs and data, and recognizers of other kinds."""
    shutil.copytree(ROOT / 'configs', place / 'configs')
    write_mini(place / 'data' / 'mini')
    for name, content in dict(
            my_recognizer=RECOGNIZER, my_layers='WIDTH = 4\n', mine=MINE, pure=PURE,
            data=DATA, tsn=TSN).items():
        (place / f'{name}.py').write_text(content)
    return place


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Folders of configs come to it, and are gone after a test."""
    monkeypatch.setattr(sys, 'path', list(sys.path))


def plan_of(folder, rows, monkeypatch):
    monkeypatch.chdir(folder)
    suite = folder / 'mine.yaml'
    suite.write_text(SUITE.format('\n'.join(
        f'      r{number}: {{label: r{number}, {row}}}'
        for number, row in enumerate(rows))))
    return Plan(read_suite(str(suite)), folder / 'out', 1)


def train_an_epoch(run):
    """The names of what an epoch changes."""
    config = run.config
    config.work_dir, config.launcher = str(run.folder.work), 'none'
    config.visualizer = dict(type='Visualizer', vis_backends=[])
    config.custom_hooks = config.val_cfg = config.val_dataloader = None
    config.val_evaluator = None
    config.train_cfg.max_epochs = 1
    config.train_cfg.pop('val_interval', None)
    config.train_dataloader.update(num_workers=0)
    runner = build_runner(config)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()
              if value.is_floating_point()}
    runner.train()
    after = runner.model.state_dict()
    return [name for name, value in before.items() if not torch.equal(value, after[name])]


def test_the_page_is_short():
    files, commands = blocks()
    assert set(files) == {'pixel_prompt.py', 'pixel_prompt_mini.py', 'suite.yaml'}
    assert sum(len(text.splitlines()) for text in files.values()) + len(commands) < 60
    assert all(command.startswith('vita-mm ') for command in commands)


def test_the_pages_system_is_planned_and_trains(own, monkeypatch):
    monkeypatch.chdir(own)
    plan = Plan(read_suite('suite.yaml'), own / 'out', 1)
    training = plan.runs['pixel_prompt_mini/seed0']
    assert {'pixel_prompt.py', 'vita_mm/models/common/vision.py'} <= \
        training.inputs.code.keys()
    assert training.inputs.missing is None and training.inputs.clip['pretrained']
    assert training.spec.python_path == [str(own)]
    assert {run.name for run in plan.runs.values() if not run.trains} == {
        'pixel_prompt_mini@test/seed0', 'frozen_clip-mini_k400/seed0'}
    assert train_an_epoch(training) == ['backbone.picture', 'cls_head.logit_scale']


def test_a_change_of_a_users_file_makes_its_run_stale(own, monkeypatch):
    plan = plan_of(own, ['train: mine.py'], monkeypatch)
    training = plan.runs['mine/seed0']
    training.folder.create(training.config, Manifest.of(training.spec, 'mine', None))
    training.folder.finish(weights=dict(path='work/weights.pth', sha256='a' * 64))
    plan.refresh()
    assert training.done
    for name in ('my_recognizer.py', 'my_layers.py'):
        text = (own / name).read_text()
        (own / name).write_text(text + 'MORE = 1\n')
        status = Plan(plan.suite, plan.out, 1).runs['mine/seed0'].status
        assert (status.state, status.reasons) == ('stale', [f'code changed: {name}'])
        with pytest.raises(UserError, match=f'^{name} changed since the run was planned'):
            check_code(training.config, training.inputs)
        (own / name).write_text(text + '# a comment\n')
        assert Plan(plan.suite, plan.out, 1).runs['mine/seed0'].done
    check_code(training.config, training.inputs)


def test_recognizers_that_know_nothing_of_us_train(own, monkeypatch):
    plan = plan_of(own, ['train: mine.py', 'train: pure.py', 'train: tsn.py'],
                   monkeypatch)
    mine, pure, tsn = (plan.runs[f'{name}/seed0'] for name in ('mine', 'pure', 'tsn'))
    for one in plan.runs.values():
        assert one.inputs.missing is None and one.inputs.clip == {}
    assert mine.inputs.code == pure.inputs.code
    assert {'my_recognizer.py', 'my_layers.py', 'mmaction'} <= mine.inputs.code.keys()
    assert tsn.inputs.code['mmaction'] == '1.2.0'
    for one in (mine, pure):
        assert 'backbone.layer.weight' in train_an_epoch(one)
    assert 'cls_head.fc_cls.weight' in train_an_epoch(tsn)
    config = plan.runs['tsn@test/seed0'].config
    assert config.model == tsn.config.model and config.train_cfg is None


def test_a_version_of_the_library_is_part_of_a_stock_model(own, monkeypatch):
    import mmaction
    before = plan_of(own, ['train: tsn.py'], monkeypatch).runs['tsn/seed0'].inputs
    monkeypatch.setattr(mmaction, '__version__', '9.9')
    after = plan_of(own, ['train: tsn.py'], monkeypatch).runs['tsn/seed0'].inputs
    assert before.code['mmaction'] != after.code['mmaction'] == '9.9'


@pytest.mark.parametrize('path, kind', [
    ('tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb', 'Recognizer2D'),
    ('swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb',
     'Recognizer3D')])
def test_mmactions_own_configs_are_rows(own, monkeypatch, path, kind):
    row = (f'train: "mmaction::recognition/{path}.py", '
           'override: {model.backbone.pretrained: null}')
    plan = plan_of(own, [row], monkeypatch)
    training, = (run for run in plan.runs.values() if run.trains)
    assert training.config.model.type == kind
    assert training.inputs.config['model.backbone.pretrained'] == 'None'
    assert 'kinetics400_train_list_videos.txt' in training.inputs.missing


def test_a_suite_finds_configs_beside_it(own, monkeypatch):
    plan = plan_of(own, ['train: mine.py', 'test: configs/frozen_clip/mini_k400.py'],
                   monkeypatch)
    monkeypatch.chdir(own.parent)
    again = Plan(read_suite(str(own / 'mine.yaml')), own / 'out', 1)
    assert again.runs.keys() == plan.runs.keys()
    with pytest.raises(UserError, match='package that is not installed: nothing'):
        plan_of(own, ['train: "nothing::x.py"'], monkeypatch)


def test_plugins_that_are_not_there_or_are_others(own, tmp_path, monkeypatch):
    monkeypatch.chdir(own)
    load_config(own / 'mine.py')
    (own / 'lost.py').write_text(MINE.replace('my_recognizer', 'nowhere_at_all'))
    with pytest.raises(UserError, match='there is no module nowhere_at_all beside it'):
        load_config(own / 'lost.py')
    for name in ('my_recognizer.py', 'mine.py', 'data.py'):
        shutil.copy(own / name, tmp_path / name)
    with pytest.raises(UserError, match='came first: rename one of them'):
        load_config(tmp_path / 'mine.py')


def test_a_stock_model_is_not_asked_for_other_classes():
    trained = Config(dict(model=dict(type='Recognizer2D')))
    plain = Config(dict(model=dict(type='Recognizer3D', backbone=dict(type='X'))))
    use_trained_model(plain, trained)
    assert plain.model == trained.model
    prompted = load_config(ROOT / 'configs/zero_shot/mini_k600.py')
    with pytest.raises(UserError, match='the Recognizer2D of .* has no text side'):
        use_trained_model(prompted, trained)


@pytest.mark.slow
def test_the_pages_commands_run(tmp_path, monkeypatch):
    files, commands = blocks()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/mlflow.db')
    for name, content in files.items():
        Path(name).write_text(content)
    for command in commands:
        verb, *arguments = command.split()[1:]
        if verb == 'mini':  # all of it takes minutes, and is a test of its own
            write_mini(tmp_path / 'data' / 'mini')
            continue
        if arguments[0] == 'run':
            arguments += ['--cfg-options', 'train_cfg.max_epochs=1']
        done = world.run('vita_mm/cli/main.py', verb, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    report = Path('work_dirs/ablations/suite/report/report.md').read_text()
    assert 'pixel prompt' in report and 'failed' not in report
