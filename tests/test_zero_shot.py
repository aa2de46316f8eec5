"""All zero-shot results of a model: one pass, many prompts, any number of processes."""
import json

import pytest
import torch
from mlflow import MlflowClient
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from test_mini import SMALL
from vita_mm.engine.runs import build_runner, keep_test_only
from vita_mm.mini import build
from world import ROOT, run

DATASET = 'mini_k600'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the miniature and an untrained checkpoint of its supervised model."""
    folder = tmp_path_factory.mktemp('zero_shot')
    build(folder / 'data' / 'mini', size=SMALL)
    init_default_scope('mmaction')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(ROOT / 'configs' / 'vita_mini.py').model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    return folder


def zero_shot(folder, name, *options, tool='tools/zero_shot.py'):
    command = [tool, ROOT / 'configs' / 'vita_mini.py', 'model.pth']
    if tool.endswith('.sh'):
        command.append(2)
    done = run(*command, '--suite', 'mini', '--datasets', DATASET, '--work-dir', name,
               *options, cwd=folder)
    assert done.returncode == 0, done.stdout
    results = json.loads((folder / name / 'results.json').read_text())
    return results, done.stdout


@pytest.fixture(scope='module')
def one_process(folder):
    return zero_shot(folder, 'one')


def test_the_table_has_every_dataset_prompt_and_model(one_process):
    results, output = one_process
    rows = {(row['dataset'], row['prompts'], row['model']): row
            for row in results['rows']}
    assert rows.keys() == {
        (DATASET, prompts, model) for prompts in ('name', 'templates')
        for model in ('frozen CLIP', 'frame_windows', 'tile')}
    for row in rows.values():
        accuracies = torch.tensor([split['top1'] for split in row['splits']])
        assert row['top1'] == pytest.approx(accuracies.mean().item(), abs=1e-6)
        assert row['top1_std'] == pytest.approx(accuracies.std(correction=0).item(),
                                                abs=1e-6)
        assert [split['videos_read'] for split in row['splits']] == [12] * 3
        assert f"{100 * row['top1']:.1f} ± {100 * row['top1_std']:.1f}" in output


@pytest.mark.slow
def test_two_processes_and_a_resumed_call_give_the_same_numbers(folder, one_process):
    results, output = zero_shot(folder, 'two', tool='tools/dist_zero_shot.sh')
    assert results['rows'] == one_process[0]['rows']
    assert 'finished before' not in output

    # It is killed, and called again.
    (folder / 'two' / 'results.json').unlink()
    (folder / 'two' / 'mini_k600' / 'tile' / 'result.json').write_text('{"key":')
    results, output = zero_shot(folder, 'two', '--resume')
    assert results['rows'] == one_process[0]['rows']
    assert output.count('finished before') == 2


def test_mlflow_has_a_run_for_each_pass_below_one_for_all(folder, one_process):
    client = MlflowClient(f'sqlite:///{folder}/mlflow.db')
    experiment, = [found.experiment_id for found in client.search_experiments()
                   if found.name == 'vita_mm']
    runs = client.search_runs([experiment])
    parents = [run for run in runs if run.info.run_name.startswith('zero-shot')]
    children = [run for run in runs if run.data.tags.get('mlflow.parentRunId')
                == parents[-1].info.run_id]  # the first call was one_process
    assert len(children) == 3
    assert {run.info.status for run in runs} == {'FINISHED'}
    expected = {f"{row['dataset']}/{row['prompts']}/{row['model'].replace(' ', '_')}/top1":
                row['top1'] for row in one_process[0]['rows']}
    assert expected.items() <= parents[-1].data.metrics.items()
    assert all('name/acc/top1' in child.data.metrics for child in children)


def test_one_pass_equals_an_ordinary_test_with_each_prompt(folder, monkeypatch):
    """The plain way: MMEngine's loop, which encodes the text at every batch."""
    monkeypatch.chdir(folder)
    path = ROOT / 'configs' / 'zero_shot' / 'mini_k600.py'
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


@pytest.mark.parametrize('options, sentence', [
    (['--suite', 'mini', '--datasets', 'ucf101'], "no dataset 'ucf101'; it has mini_"),
    (['--suite', 'paper'], 'annotation file data/hmdb51/test_split1.txt')])
def test_what_cannot_be_evaluated_is_said_before_anything_runs(folder, options, sentence):
    done = run('tools/zero_shot.py', ROOT / 'configs' / 'vita_mini.py', 'model.pth',
               '--work-dir', 'bad', *options, cwd=folder)
    assert done.returncode == 2 and sentence in done.stdout
    assert 'Traceback' not in done.stdout and not (folder / 'bad').exists()
