"""Every config is of one system, each system has its configs, and every verb does its
work with every system or says why not: the table of ``docs/systems.md``, walked."""
import io
import json
from pathlib import Path

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import open_clip
import pytest
import torch
from conftest import tiny_clip_config
from in_process import InProcess
from mmengine.config import Config
from rich.console import Console
from vita_mm.cli.main import run
from vita_mm.cli.pages import marks
from vita_mm.cli.systems import tables
from vita_mm.engine.hooks import ConfusionHook
from vita_mm.errors import UserError
from vita_mm.harness.run.plan import Plan
from vita_mm.harness.run.sweep import Sweep
from vita_mm.harness.spec.suite import read_suite
from vita_mm.models.common.system import VERBS
from vita_mm.systems import SYSTEMS, check_verb, find_system
from world import write_video

ROOT = Path(__file__).parents[1]
BEGIN, END = marks('systems')
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py')
                 if path.parent.name != '_base_')


@pytest.mark.parametrize('path', CONFIGS)
def test_config_is_of_the_system_of_its_folder(path):
    folder = Path(path).parts[1]
    expected = folder if folder in SYSTEMS else 'vita_clip'
    assert find_system(Config.fromfile(ROOT / path).model).name == expected


def test_systems_name_configs_of_theirs():
    for system in SYSTEMS.values():
        for path in (system.config, system.paper_config):
            assert find_system(Config.fromfile(ROOT / path).model) is system


def test_systems_are_described_and_converted_or_say_why_not():
    for system in SYSTEMS.values():
        assert system.parts is not None and system.code and system.paper
        assert (system.conversion is None) == ('convert' in system.refusals)


@pytest.mark.parametrize('head, name', [
    (dict(type='CLIPTextHead'), 'frozen_clip'),
    (dict(type='VitaCLIPTextHead', context='none'), 'frozen_clip'),
    (dict(type='VitaCLIPTextHead'), None),  # it has class-specific contexts
    (dict(type='CLIPTextHead', trained=True), None)])
def test_frozen_clip_has_nothing_to_train(head, name):
    found = find_system(dict(backbone=dict(type='CLIPVisionTransformer'), cls_head=head))
    assert (found and found.name) == name


def test_model_of_others_is_of_none():
    stock = dict(type='Recognizer2D', backbone=dict(type='ResNet'),
                 cls_head=dict(type='TSNHead'))
    assert find_system(stock) is None


def test_refusal_is_a_sentence():
    with pytest.raises(UserError, match='train: nothing of frozen CLIP is trained'):
        check_verb('train', SYSTEMS['frozen_clip'])
    check_verb('train', SYSTEMS['vita_clip'])


def test_the_page_of_systems_is_what_the_code_says():
    page = (ROOT / 'docs' / 'systems.md').read_text(encoding='utf-8')
    written = page.partition(BEGIN)[2].partition(END)[0]
    assert written == tables(), 'run `vita-mm systems --update docs/systems.md`'


def test_a_page_is_written_between_its_marks(tmp_path, capsys):
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{BEGIN}old\n{END}behind\n')
    assert run('systems', ['--update', str(page)]) == 0
    assert page.read_text() == f'before\n{BEGIN}{tables()}{END}behind\n'
    page.write_text(f'{END}{BEGIN}')
    refused('has no lines <!-- systems: begin -->', capsys, 'systems', '--update', page)
    assert page.read_text() == f'{END}{BEGIN}'
    capsys.readouterr()
    assert run('systems', []) == 0
    assert tables() in capsys.readouterr().out


CLASSES = ['red bar', 'green bar', 'blue bar']
SMALL = {'train_cfg.max_epochs': 1, 'train_dataloader.batch_size': 2,
         **{f'{part}_dataloader.num_workers': 0 for part in ('train', 'val', 'test')}}
TRAINED = [name for name, system in SYSTEMS.items() if 'train' not in system.refusals]
# What each system does in tests of its own, or what takes seconds for each.
DEAR = {('zero-shot', name) for name in SYSTEMS} | {
    (verb, name) for verb in ('suite', 'confusion') for name in SYSTEMS
    if name != 'xclip'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The miniature as small as can be: three videos in all of its roles, and a CLIP with
    heads of the width that all formats of checkpoints take for granted."""
    folder = tmp_path_factory.mktemp('systems')
    mini = folder / 'data' / 'mini'
    (mini / 'clip').mkdir(parents=True)
    for number in range(3):
        write_video(mini / f'{number}.mp4', 34, colour=number)
    for name in ('k400', 'k600', 'k600_split1_candidates', 'k600_split2_candidates',
                 'k600_split3_candidates'):
        end = '' if 'candidates' in name else '_classes'
        (mini / f'{name}{end}.txt').write_text('\n'.join(CLASSES))
    for name in ('k400_train', 'k400_val', 'k600_split1', 'k600_split2', 'k600_split3'):
        (mini / f'{name}.txt').write_text(''.join(
            f'{number}.mp4 {number}\n' for number in range(3)))
    arch = tiny_clip_config(
        embed_dim=64, quick_gelu=True,
        vision=dict(image_size=48, patch_size=16, width=64, layers=4, head_width=64),
        text=dict(width=64, heads=1))
    (mini / 'clip' / 'ViT-Mini.json').write_text(json.dumps(arch))
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**arch).state_dict(), mini / 'clip' / 'vit_mini.pt')
    return folder


@pytest.fixture
def within(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{folder}/mlflow.db')


def options(*only):
    return ['--cfg-options', *(f'{key}={value}' for key, value in SMALL.items()
                               if not only or key.startswith(only))]


def config_of(system):
    return str(ROOT / system.config)


@pytest.fixture(scope='module')
def trained(folder):
    """Function: a system's checkpoint of one short training, by the verb; `none` where
    nothing is trained."""
    known = {}

    def trained(name):
        if name not in TRAINED:
            return 'none'
        if name not in known:
            assert run('train', [config_of(SYSTEMS[name]), '--no-validate', '--work-dir',
                                 f'trained/{name}', *options()]) == 0
            known[name] = f'trained/{name}/epoch_1.pth'
        return known[name]

    return trained


def refused(sentence, capsys, verb, *arguments):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(verb, list(map(str, arguments)))
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert sentence in ' '.join(error.split()), error


# What is asked of a system that refuses.
ASKED = {
    'train': lambda system: [config_of(system)],
    'zero-shot': lambda system: [config_of(system), 'absent.pth', '--protocol', 'mini'],
    'convert': lambda system: ['data/mini/clip/vit_mini.pt', 'out.pth', '--system',
                               system.name]}


def walk_train(name, trained, capsys, monkeypatch):
    state = torch.load(trained(name), weights_only=True)['state_dict']
    assert len(state) > 1 and all(
        tensor.isfinite().all() for key, tensor in state.items() if key != '_extra_state')


def walk_test(name, trained, capsys, monkeypatch):
    # Pictures of confusion have a verb of their own.
    monkeypatch.setattr(ConfusionHook, '_save', lambda *args: None)
    assert run('test', [config_of(SYSTEMS[name]), trained(name), '--work-dir',
                        f'test/{name}', *options('test')]) == 0
    scalars, = Path(f'test/{name}').glob('*/*.json')
    found = json.loads(scalars.read_text().splitlines()[-1])
    top1, = (value for key, value in found.items() if key.endswith('acc/top1'))
    assert 0 <= top1 <= 1


def walk_zero_shot(name, trained, capsys, monkeypatch):
    monkeypatch.setattr(ConfusionHook, '_save', lambda *args: None)
    assert run('zero-shot', [
        config_of(SYSTEMS[name]), trained(name), '--protocol', 'mini', '--datasets',
        'mini_k600', '--work-dir', f'zero_shot/{name}', *options('test')]) == 0
    found = json.loads(Path(f'zero_shot/{name}/results.json').read_text())
    assert all(0 <= row['top1'] <= 1 for row in found['rows'])
    assert SYSTEMS[name].title in capsys.readouterr().out


def walk_predict(name, trained, capsys, monkeypatch):
    capsys.readouterr()
    assert run('predict', ['data/mini/1.mp4', *model(name, trained), '--json']) == 0
    output = capsys.readouterr().out
    row, = json.loads(output[output.index('[\n'):])
    scores = {one['class']: one['score'] for one in row['predictions']}
    assert scores.keys() == set(CLASSES)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-5)


def model(name, trained):
    """How predict and rollout are told which model."""
    if name in TRAINED:
        return ['--checkpoint', trained(name)]
    return ['--config', config_of(SYSTEMS[name])]


def walk_rollout(name, trained, capsys, monkeypatch):
    assert run('rollout', ['data/mini/1.mp4', *model(name, trained), '--out',
                           f'rollout/{name}']) == 0
    drawn = Path(f'rollout/{name}/1')
    assert sorted(file.name for file in drawn.iterdir()) == [
        'frames.gif', 'frames.png', 'shares.csv', 'shares.png']
    head, *rows = (drawn / 'shares.csv').read_text().split()
    kinds = dict(vita_clip=['summary', 'global', 'local'], xclip=['summary'])
    assert head.split(',') == ['layer', 'patches', 'CLS', *kinds.get(name, [])]
    assert len(rows) == 4


def walk_confusion(name, trained, capsys, monkeypatch):
    out = Path(f'confusion/{name}')
    assert run('confusion', [config_of(SYSTEMS[name]), trained(name), '--work-dir',
                             f'{out}/work', '--out', str(out), *options('test')]) == 0
    pictures = [path for path in out.rglob('confusion.png') if 'work' not in path.parts]
    assert len(pictures) == 1
    pairs = pictures[0].with_name('confused_pairs.csv').read_text().splitlines()
    assert pairs[0] == 'true,predicted,mistaken,videos,share' and len(pairs) <= 4
    assert 'top-1' in capsys.readouterr().out


def walk_costs(name, trained, capsys, monkeypatch):
    assert run('costs', [config_of(SYSTEMS[name]), '--out', f'costs/{name}.md']) == 0
    row = Path(f'costs/{name}.md').read_text().splitlines()[4]
    label, *numbers = row.split('|')[1:-1]
    assert label.strip() == config_of(SYSTEMS[name])
    parameters, learned, *_, clip, text, saved = (
        float(number) for number in numbers if number.strip())
    assert parameters >= learned and clip > 0 and text >= 0
    assert (learned > 0) == (saved > 0) == (name in TRAINED)


def walk_convert(name, trained, capsys, monkeypatch):
    """To the format of the authors and back it is what it was."""
    ours, released, back = trained(name), f'{name}_released.pth', f'{name}_back.pth'
    assert run('convert', [ours, released, '--to', 'released']) == 0
    config = [] if name == 'vita_clip' else ['--config', config_of(SYSTEMS[name])]
    assert run('convert', [released, back, *config]) == 0
    before, after = (torch.load(path, weights_only=True)['state_dict']
                     for path in (ours, back))
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert key == '_extra_state' or torch.equal(tensor, after[key]), key


def walk_suite(name, trained, capsys, monkeypatch):
    monkeypatch.setattr(ConfusionHook, '_save', lambda *args: None)
    use = 'train' if name in TRAINED else 'test'
    suite = Path(f'suites/{name}.yaml')
    suite.parent.mkdir(exist_ok=True)
    suite.write_text(f'''
title: one row
compared: order
tables:
  t:
    title: Table
    columns: {{top1: {{title: Top-1}}}}
    rows: {{r: {{label: {name}, {use}: {config_of(SYSTEMS[name])}}}}}
''')
    small = {key: value for key, value in SMALL.items()
             if name in TRAINED or key.startswith('test')}
    plan = Plan(read_suite(str(suite)), Path('suite', name), 1, small)
    runs = plan.select(None)
    sweep = Sweep(plan, InProcess(plan.out, 1, 0, None), None,
                  Console(file=io.StringIO()))
    assert sweep.run(runs) == {} and all(run.done for run in runs)
    assert len(runs) == 1 + (name in TRAINED)
    top1, = (value for key, value in plan.places[0].run.folder.result.metrics.items()
             if key.endswith('acc/top1'))
    assert 0 <= top1 <= 1


WALKS = {verb: globals()[f'walk_{verb.replace("-", "_")}'] for verb in VERBS}


@pytest.mark.parametrize('verb, name', [
    pytest.param(verb, name, marks=[pytest.mark.slow] if (verb, name) in DEAR and
                 verb not in SYSTEMS[name].refusals else [])
    for name in SYSTEMS for verb in VERBS])
def test_a_verb_does_its_work_or_says_why_not(verb, name, within, trained, capsys,
                                              monkeypatch):
    system = SYSTEMS[name]
    if verb in system.refusals:
        refused(system.refusals[verb], capsys, verb, *ASKED[verb](system))
    else:
        WALKS[verb](name, trained, capsys, monkeypatch)
