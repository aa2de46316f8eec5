"""All zero-shot results of a model: one pass, many prompts, any number of processes."""
import json
import re
import shutil
import signal
from pathlib import Path

import open_clip
import pytest
import torch
from conftest import tiny_clip_config
from mlflow import MlflowClient
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from vita_mm.cli.main import load, run
from vita_mm.engine.hooks import ConfusionHook
from vita_mm.engine.runs import (build_runner, keep_test_only, load_config,
                                 use_trained_model)
from vita_mm.engine.variants import read_dataset
from vita_mm.errors import UserError
from vita_mm.harness.beside import (class_forms, compare, make_table, on_its_own_set,
                                    read_trained, rows_of, zero_shot)
from vita_mm.labels.protocols import read_protocol
from vita_mm.systems import SYSTEMS
from world import ROOT, write_video
from world import run as run_tool

DATASET = 'mini_k600'
CLASSES = ['red bar', 'green bar', 'blue bar', 'grey wall']
VITA = 'configs/vita_mini.py'
TEXT_SIDES = [name for name, system in SYSTEMS.items()
              if 'zero-shot' not in system.refusals]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a set of the miniature and its CLIP, both as small as can be."""
    folder = tmp_path_factory.mktemp('zero_shot')
    mini = folder / 'data' / 'mini'
    for number in range(4):
        write_video(mini / f'{number}.mp4', 40, colour=number % 3)
    for name in ('k400', 'ssv2', 'k600'):
        (mini / f'{name}_classes.txt').write_text('\n'.join(CLASSES))
        (mini / f'{name}_val.txt').write_text('0.mp4 0\n1.mp4 1\n')
    for split in (1, 2, 3):
        left = CLASSES[:3] if split == 3 else CLASSES
        (mini / f'k600_split{split}_candidates.txt').write_text('\n'.join(left))
        (mini / f'k600_split{split}.txt').write_text(
            ''.join(f'{number}.mp4 {number % 3}\n' for number in range(split, 4)))
    arch = tiny_clip_config(  # of as many layers as EVL reads
        vision=dict(image_size=48, patch_size=24, layers=4))
    (mini / 'clip').mkdir()
    (mini / 'clip' / 'ViT-Mini.json').write_text(json.dumps(arch))
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**arch).state_dict(), mini / 'clip' / 'vit_mini.pt')
    return folder


@pytest.fixture(autouse=True)
def within(folder, monkeypatch):
    monkeypatch.chdir(folder)
    # Most of the time are pictures of confusion, which have tests of their own, and the
    # layout of configs in logs.
    monkeypatch.setattr(ConfusionHook, '_save', lambda *args: None)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: repr(config)))
    # MMEngine tells experiments apart by the second in which they begin.
    monkeypatch.setattr('time.strftime', lambda *args: '20260101_000000')


def checkpoint_of(config, name='model.pth'):
    """An untrained checkpoint of a config."""
    init_default_scope('mmaction')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(ROOT / config).model)
    torch.save(dict(state_dict=model.state_dict()), name)
    return name


def evaluate_all(config, checkpoint, name, *options):
    code = run('zero-shot', [
        str(ROOT / config), checkpoint, '--protocol', 'mini', '--datasets', DATASET,
        '--work-dir', name, *options, '--cfg-options', 'test_dataloader.num_workers=0',
        'test_dataloader.dataset.serialize_data=false'])
    assert not code
    with open(f'{name}/results.json') as file:
        return json.load(file)


@pytest.fixture(scope='module')
def found(folder):
    """Function: the results of a system, and what was printed, computed once."""
    known = {}

    def found(name, capsys):
        if name not in known:
            config = SYSTEMS[name].config
            trains = 'train' not in SYSTEMS[name].refusals
            checkpoint = checkpoint_of(config, f'{name}.pth') if trains else 'none'
            capsys.readouterr()
            known[name] = (evaluate_all(config, checkpoint, f'out/{name}'),
                           capsys.readouterr().out)
        return known[name]

    return found


@pytest.mark.parametrize('name', TEXT_SIDES)
def test_each_system_is_beside_frozen_clip(name, found, capsys):
    results, output = found(name, capsys)
    system = SYSTEMS[name]
    rows = {(row['prompts'], row['model']): row for row in results['rows']}
    assert len(rows) == len(results['rows'])
    prompts = {'name', 'templates', *system.prompts}
    wanted = {(one, 'frozen CLIP') for one in prompts}
    if name == 'efficient_prompt':
        wanted |= {('learned', name)}
    elif name != 'frozen_clip':
        wanted |= {(one, model) for one in prompts
                   for model in system.long_clips or [name]}
    assert rows.keys() == wanted
    for row in rows.values():
        accuracies = torch.tensor([split['top1'] for split in row['splits']])
        assert row['top1'] == pytest.approx(accuracies.mean().item(), abs=1e-6)
        assert row['top1_std'] == pytest.approx(accuracies.std(correction=0).item(),
                                                abs=1e-6)
        assert [split['videos_read'] for split in row['splits']] == [3, 2, 1]
        assert row['chance'] == pytest.approx((1 / 4 + 1 / 4 + 1 / 3) / 3)
        assert f"{100 * row['top1']:.1f} ± {100 * row['top1_std']:.1f}" in output
        assert row['title'] in output
    assert 'error' not in output and system.title in output
    assert f'class names of {DATASET}: as "red bar" (data/mini/k600_classes' in output
    assert {row['class_names'] for row in rows.values()} == {
        'as "red bar" (data/mini/k600_classes.txt)'}


def test_what_is_clip_still_has_its_numbers(found, capsys):
    """An untrained ViFi-CLIP is CLIP, and CLIP is the same beside any system."""
    vifi, vita, alone = (
        {(row['prompts'], row['model']): row['splits'] for row in found(name, capsys)[0][
            'rows']} for name in ('vifi_clip', 'vita_clip', 'frozen_clip'))
    for prompts in ('name', 'templates'):
        frozen = vifi[prompts, 'frozen CLIP']
        assert vifi[prompts, 'vifi_clip'] == frozen == vita[prompts, 'frozen CLIP'] \
            == alone[prompts, 'frozen CLIP']


def test_a_call_is_resumed(folder, found, capsys):
    results, _ = found('vita_clip', capsys)
    shutil.copytree('out/vita_clip', 'again', ignore=shutil.ignore_patterns('mlflow'))
    (folder / 'again' / 'results.json').unlink()
    (folder / 'again' / DATASET / 'tile' / 'result.json').write_text('{"key":')
    capsys.readouterr()
    again = evaluate_all(VITA, 'vita_clip.pth', 'again', '--resume')
    assert again['rows'] == results['rows']
    assert capsys.readouterr().out.count('finished before') == 2


@pytest.mark.slow
def test_two_processes_give_the_same_numbers(folder, found, capsys):
    results, _ = found('vita_clip', capsys)
    done = run_tool('tools/dist_zero_shot.sh', ROOT / VITA, 'vita_clip.pth', 2, '--suite',
                    'mini', '--datasets', DATASET, '--work-dir', 'two', cwd=folder)
    assert done.returncode == 0, done.stdout
    assert json.loads((folder / 'two' / 'results.json').read_text())['rows'] == \
        results['rows']


def test_mlflow_has_a_run_for_each_pass_below_one_for_all(folder, found, capsys):
    results, _ = found('vita_clip', capsys)
    client = MlflowClient(f'sqlite:///{folder}/mlflow.db')
    experiment, = [found.experiment_id for found in client.search_experiments()
                   if found.name == 'vita_mm']
    runs = client.search_runs([experiment])
    parent = [run for run in runs
              if run.info.run_name == 'zero-shot vita_clip.pth'][-1]  # the first of them
    children = [run for run in runs
                if run.data.tags.get('mlflow.parentRunId') == parent.info.run_id]
    names = [child.info.run_name.removeprefix(f'{DATASET} ') for child in children]
    assert sorted(re.sub(r'( \d+)?_20260101_000000$', '', name) for name in names) == [
        'frame_windows', 'frozen CLIP', 'tile']
    assert {run.info.status for run in runs} == {'FINISHED'}
    expected = {'/'.join((row['dataset'], row['prompts'],
                          row['model'].replace(' ', '_'), 'top1')): row['top1']
                for row in results['rows']}
    assert expected.items() <= parent.data.metrics.items()
    assert all('name/acc/top1' in child.data.metrics for child in children)


def test_one_pass_equals_an_ordinary_test_with_each_prompt(folder):
    """The plain way: MMEngine's loop, which encodes the text at every batch."""
    path = ROOT / 'configs' / 'zero_shot' / 'mini_k600.py'
    checkpoint_of(VITA)
    torch.manual_seed(1)
    once = evaluate(Config.fromfile(path))
    for name, templates in (('name', '{}'), ('templates', Config.fromfile(
            path).test_cfg.prompts.templates)):
        config = Config.fromfile(path)
        config.test_cfg = dict(type='TestLoop')
        config.model.cls_head.templates = templates
        plain = evaluate(config)
        assert {f'{name}/{key}': value for key, value in plain.items()
                if 'time' not in key}.items() <= once.items()


def evaluate(config):
    config.visualizer.vis_backends = []
    config.log_level = 'ERROR'
    config.work_dir = 'plain'
    config.load_from = 'model.pth'
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    config.experiment_name = str(id(config))
    keep_test_only(config)
    return build_runner(config).test()


# What is whose


@pytest.mark.parametrize('name, kept', [
    ('vita_clip', dict(context='none')), ('xclip', {}), ('actionclip', {}),
    ('efficient_prompt', {}), ('vifi_clip', dict(context='none'))])
def test_an_evaluation_keeps_its_classes_and_what_the_head_says(name, kept):
    trained = load_config(ROOT / SYSTEMS[name].config)
    config = load_config(ROOT / 'configs' / 'zero_shot' / 'mini_k600.py')
    use_trained_model(config, trained)
    expected = dict(trained.model.cls_head, classes='data/mini/k600_classes.txt', **kept)
    assert config.model.cls_head == expected


def test_options_of_the_model_are_for_the_trained_one_too():
    """Other CLIP weights are those of the model and of frozen CLIP."""
    trained = read_trained('zero-shot', str(ROOT / SYSTEMS['xclip'].config),
                           checkpoint_of(SYSTEMS['xclip'].config),
                           {'model.clip.pretrained': 'other.pt'})
    passes = zero_shot('mini', trained, options={'test_dataloader.batch_size': 3})
    assert [one.dataset for one in passes[::2]] == list(read_protocol('mini'))
    for one in passes:
        assert one.config.model.clip.pretrained == 'other.pt'
        assert one.config.test_dataloader.batch_size == 3
        assert one.config.test_dataloader.dataset.pipeline[1].clip_len == 8


def test_the_form_of_class_names_is_chosen_and_said():
    """X-CLIP and ViFi-CLIP feed the names of UCF101's folders."""
    trained = read_trained('zero-shot', str(ROOT / SYSTEMS['vifi_clip'].config),
                           checkpoint_of(SYSTEMS['vifi_clip'].config))
    metrics = {'name/acc/top1': 0.5}
    for names, form in ((None, 'as "Apply Eye Makeup" (ucf101)'),
                        ('folder', 'as "ApplyEyeMakeup" (ucf101:folder)')):
        passes = zero_shot('paper', trained, ['hmdb51', 'ucf101'], names=names)
        for one in passes:
            assert one.config.test_cfg.prompts['vifi_clip'] == 'a photo of a {}.'
            assert one.config.test_dataloader.dataset.classes == \
                one.config.model.cls_head.classes
        rows = [row for one in passes for row in rows_of(
            one, {**metrics, 'name/acc/videos_read': 1, 'name/acc/videos_unreadable': 0})]
        assert class_forms(rows)['ucf101'] == form
        assert class_forms(rows)['hmdb51'].startswith('as "brush hair" (hmdb51')
    with pytest.raises(UserError, match='--names x: no list of classes of the protoc'):
        zero_shot('paper', trained, names='x')


def test_the_protocols_are_those_of_the_configs():
    for protocol in ('paper', 'mini'):
        for dataset in read_protocol(protocol):
            assert read_dataset(dataset).test_evaluator.type == 'SplitAccMetric'
    with pytest.raises(UserError, match="no protocol 'k400'; there are paper, mini"):
        read_protocol('k400')


# Refusals


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as error:
        run('zero-shot', [*map(str, arguments), '--work-dir', 'bad'])
    assert error.value.code == 2
    sentence, = capsys.readouterr().err.splitlines()[-1:]
    return sentence


@pytest.mark.parametrize('options, sentence', [
    (['--protocol', 'mini', '--datasets', 'ucf101'], "no dataset 'ucf101'; it has mini_"),
    (['--suite', 'paper'], 'annotation file data/hmdb51/test_split1.txt')])
def test_what_cannot_be_evaluated_is_said_before_anything_runs(folder, options, sentence,
                                                               capsys):
    checkpoint = checkpoint_of(VITA)
    assert sentence in refused(capsys, ROOT / VITA, checkpoint, *options)
    assert not (folder / 'bad').exists()


STOCK = """
model = dict(type='Recognizer2D', backbone=dict(type='ResNet', depth=18),
             cls_head=dict(type='TSNHead', num_classes=3, in_channels=512))
"""


@pytest.mark.parametrize('config, checkpoint, options, sentence', [
    ('configs/evl/mini.py', 'none', [],
     'zero-shot: EVL has a linear classifier and no text side'),
    ('configs/xclip/mini.py', 'none', [], 'X-CLIP is trained: give its checkpoint'),
    ('configs/xclip/mini.py', 'xclip.pth', ['--long-clips', 'tile'],
     'X-CLIP has one way to read a clip'),
    ('configs/frozen_clip/mini_k400.py', 'model.pth', [],
     'frozen CLIP has no weights of its own'),
    ('stock.py', 'model.pth', [], 'stock.py is of none of the systems frozen CLIP, '
     'Vita-CLIP'),
], ids=['evl', 'untrained', 'windows', 'frozen', 'stock'])
def test_what_a_system_cannot_do_is_said_in_a_sentence(
        folder, config, checkpoint, options, sentence, capsys):
    (folder / 'stock.py').write_text(STOCK)
    checkpoint_of('configs/xclip/mini.py', 'xclip.pth')
    path = config if config == 'stock.py' else ROOT / config
    said = refused(capsys, path, checkpoint, '--protocol', 'mini', *options)
    assert said.startswith('error: ') and sentence in said
    assert not (folder / 'bad').exists()


@pytest.mark.parametrize('config, sentence', [
    ('configs/evl/mini.py', 'needs a text side, which EVLHead has not'),
    (VITA, 'what this model has learned is of its own classes alone')])
def test_a_loop_without_prompts_for_any_class_says_so(config, sentence):
    config = Config.fromfile(ROOT / config)
    config.test_cfg = dict(type='ZeroShotLoop', prompts=dict(name='{}'))
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), 'model.pth')
    with pytest.raises(UserError, match=sentence):
        evaluate(config)


# The table


def test_tables_of_chosen_weights_say_so(capsys):
    splits = [dict(top1=0.5)] * 3
    rows = [dict(dataset='hmdb51', prompts='name', title=title, top1=0.5, top1_std=0.0,
                 videos_read=3, videos_unreadable=1, splits=splits, chance=0.02)
            for title in ('frozen CLIP', 'Vita-CLIP, tile, best')]
    own = dict(rows[1], dataset='k400', prompts='', splits=[], title='Vita-CLIP')
    Console(width=90).print(make_table([*rows, own], ['best acc/top1 on [a].txt']))
    said = capsys.readouterr().out
    assert 'best acc/top1 on [a].txt' in said and 'Vita-CLIP, tile, best' in said
    assert '3, 1 unreadable' in said and said.count('chance') == 2
    assert said.count('50.0 ± 0.0') == 2


# The demo


def test_the_demo_trains_both_sets_and_compares(folder, monkeypatch, capsys):
    commands, compared = [], []

    def train(command, log):
        commands.append(command)
        work_dir = command[command.index('--work-dir') + 1]
        Path(work_dir).mkdir(parents=True)
        checkpoint_of(command[3], f'{work_dir}/epoch_1.pth')
        return 0

    monkeypatch.setattr(load('demo'), 'quietly', train)
    monkeypatch.setattr('vita_mm.mini.build', lambda root: None)
    monkeypatch.setattr('vita_mm.harness.beside.compare',
                        lambda passes, *args, **options: compared.extend(passes))
    assert run('demo', ['--folder', 'demo']) == 0
    assert [command[2:4] for command in commands] == [
        ['train', VITA], ['train', 'configs/vita_mini_motion.py']]
    assert all('train_dataloader.batch_size=8' in command and
               command[command.index('--gpus') + 1] == '2' and '--resume' in command
               for command in commands)
    assert [(one.dataset, one.title) for one in compared] == [
        (dataset, title) for dataset in ('mini_k400', 'mini_ssv2')
        for title in ('frozen CLIP', 'Vita-CLIP')] + [
        (dataset, title) for dataset in read_protocol('mini')
        for title in ('frozen CLIP', 'Vita-CLIP', 'Vita-CLIP, tile')]
    assert {one.checkpoint for one in compared} == {
        None, 'demo/vita_mini/epoch_1.pth', 'demo/vita_mini_motion/epoch_1.pth'}
    assert 'Checkpoints, logs, results: demo' in capsys.readouterr().out


def test_a_model_is_beside_frozen_clip_on_the_set_that_it_was_trained_on(
        folder, capsys):
    trained = read_trained('test', str(ROOT / VITA), checkpoint_of(VITA))
    trained.config.test_dataloader.update(num_workers=0, persistent_workers=False)
    rows = compare(on_its_own_set('mini_k400', trained), [trained], 'own', 'demo')
    assert [(row['title'], row['prompts'], row['videos_read'], row['splits'],
             row['chance']) for row in rows] == [
        (title, '', 2, [], 1 / 4) for title in ('frozen CLIP', 'Vita-CLIP')]
    assert json.loads(Path('own/results.json').read_text())['rows'] == rows
    said = capsys.readouterr().out
    assert 'pass 2 of 2: mini_k400 vita_clip' in said and '±' not in said


def test_the_demo_shows_a_line_an_epoch_and_the_end_of_what_failed(tmp_path, capfd):
    (tmp_path / 'said').write_text(
        'System environment:\n'
        'INFO - Epoch(train) [1][20/60]  lr: 2.9e-03  loss: 4.2764  top1_acc: 0.5\n'
        'INFO - Epoch(train) [1][40/60]  lr: 2.9e-03  loss: 4.1  top1_acc: 0.5\n'
        'INFO - Epoch(val) [1][3/3]    acc/top1: 0.3264  acc/top5: 0.9236\n')
    quietly, log = load('demo').quietly, tmp_path / 'logs' / 'log'
    assert quietly(['cat', str(tmp_path / 'said')], log) == 0
    assert quietly(['bash', '-c', 'echo error: a reason; exit 3'], log) == 3
    out, err = capfd.readouterr()
    assert out == (f'   all of its output: {log}\n'
                   '   epoch 1: loss 4.2764\n'
                   '   epoch 1: top-1 0.3264\n'
                   f'   all of its output: {log}\n')
    assert err == 'error: a reason\n'
    assert log.read_text() == (tmp_path / 'said').read_text() + 'error: a reason\n'


def test_an_interrupted_demo_lets_the_training_end(tmp_path):
    log = tmp_path / 'log'
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            load('demo').quietly(['bash', '-c', (
                'trap "echo the last words; exit" TERM; sleep .5; kill -TERM $PPID; '
                'while :; do sleep .05; done')], log)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert log.read_text() == 'the last words\n'
