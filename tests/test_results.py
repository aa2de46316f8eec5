"""What runs write: whole, of a known schema, documented, and readable in older forms."""
import csv
import io
import json
import re

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest

from vita_mm.errors import UserError
from vita_mm.harness.report.exports import to_csv
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.run.records import Inputs, Manifest
from vita_mm.harness.run.result import Dataset, Result, Weights, read_result
from vita_mm.harness.run.sweep import Settings
from vita_mm.harness.spec.suite import ROOT, read_suite

PAGE = (ROOT / 'docs' / 'results.md').read_text()
# As a training and an evaluation left them before there was a schema; shortened.
OLD_MANIFEST = dict(
    name='tiny/seed0', seed=0, command=['execute.py', 'out/runs/tiny/seed0'],
    precision='bfloat16', environment={'env.torch': '2.13.0', 'env.world_size': '1'},
    git={}, clip={'clip.arch': '{}', 'clip.sha256': 'ab'},
    datasets=[dict(name='world/train.txt', digest='cd', context='train',
                   source='/data/world/train.txt')],
    checkpoint=dict(path='/out/runs/tiny/seed0/work/weights.pth', sha256='ef'))
OLD_STATUS = dict(state='done', time='2026-11-25T09:00:00+0000', seconds=3.5)


@pytest.mark.parametrize('title, kind', [
    ('## `result.json`, schema 2', Result), ('### `weights`', Weights),
    ('### `datasets`', Dataset), ('## `sweep.json`, schema 1', Settings)])
def test_the_page_says_what_each_key_means(title, kind):
    """In the words of the schema, and of no other key."""
    lines = [f'| `{field.alias or name}` | {field.description} |'
             for name, field in kind.model_fields.items()]
    found = PAGE.split(f'{title}\n')[1].split('\n#')[0]
    assert re.findall(r'^\| `.*$', found, re.M) == lines


def test_the_page_says_what_each_column_means():
    from test_report import as_published, measure
    suite = read_suite('paper')
    columns = {name for result in measure(
                   suite, as_published, seeds=2, intervals=True)
               for name in csv.DictReader(io.StringIO(to_csv(suite, result))).fieldnames}
    about = PAGE.split('## The tables')[1].split('\n## ')[0]
    named = set(re.findall(r'`(\w+)`', about)) - {'reproduced'}
    assert named == columns


def write(folder, **files):
    for name, content in files.items():
        (folder / f'{name}.json').write_text(json.dumps(content))


def test_a_result_is_read_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.result is None
    folder.finish(metrics={'acc/top1': float('nan'), 'trainable_parameters': 7},
                  weights=Weights(path='work/weights.pth', sha256='ab'), git={})
    content = json.loads((tmp_path / 'result.json').read_text())
    assert content['schema'] == 2 and content['state'] == 'done'
    result = folder.result
    assert repr(result.metrics) == "{'acc/top1': nan, 'trainable_parameters': 7}"
    assert folder.weights == tmp_path / 'work/weights.pth'
    assert [path.name for path in tmp_path.iterdir()] == ['result.json']


def test_a_folder_of_before_the_schema_is_read(tmp_path):
    write(tmp_path, status=OLD_STATUS, manifest=OLD_MANIFEST,
          metrics={'trainable_parameters': 54368})
    result = read_result(tmp_path)
    assert (result.state, result.seconds, result.precision) == ('done', 3.5, 'bfloat16')
    assert result.metrics == {'trainable_parameters': 54368}
    assert result.weights.sha256 == 'ef' and result.datasets[0].digest == 'cd'
    # The weights were named by an absolute path.
    assert str(RunFolder(tmp_path).weights) == '/out/runs/tiny/seed0/work/weights.pth'


def test_an_old_failure_and_one_without_a_precision(tmp_path):
    write(tmp_path, status=dict(state='failed', time='2026', error='it broke',
                                last_lines=['a', 'b']))
    assert read_result(tmp_path).last_lines == ['a', 'b']
    older = {key: value for key, value in OLD_MANIFEST.items() if key != 'precision'}
    write(tmp_path, status=OLD_STATUS, manifest=dict(older, checkpoint=None),
          metrics={'acc/top1': 0.5})
    result = read_result(tmp_path)
    assert (result.precision, result.weights) == ('float32', None)


@pytest.mark.parametrize('change, said', [
    (dict(schema=3, metric=1), 'it is of the schema 3, which this version'),
    (dict(metrics={'acc/top1': 'high'}), 'metrics.acc/top1'),
    (dict(weights=dict(path='a')), "the field 'weights.sha256' is missing"),
    (dict(moment=1), "unknown field 'moment'"), (dict(state='ended'), 'state: ')])
def test_another_form_is_one_sentence(tmp_path, change, said):
    content = {**dict(schema=1, state='done', time='2026'), **change}
    write(tmp_path, result=content)
    with pytest.raises(UserError) as fault:
        read_result(tmp_path)
    assert str(fault.value).startswith(f'{tmp_path / "result.json"}: ')
    assert said in str(fault.value) and '\n' not in str(fault.value)


def test_settings_of_before_the_schema_are_read(tmp_path):
    write(tmp_path, sweep=dict(seeds=3, options={'model.a': [1, 'b']}))
    settings = Settings.read(tmp_path / 'sweep.json')
    assert (settings.seeds, settings.options) == (3, {'model.a': [1, 'b']})
    settings.write(tmp_path / 'sweep.json')
    assert Settings.read(tmp_path / 'sweep.json') == settings


def test_a_run_that_starts_again_has_no_result(tmp_path):
    """Neither the new one nor what it was made of before."""
    class Config:
        def dump(self, path):
            path.write_text('')

    write(tmp_path, status=OLD_STATUS, manifest=OLD_MANIFEST, metrics={})
    folder = RunFolder(tmp_path)
    inputs = Inputs(config={}, code={}, data={}, clip={})
    manifest = Manifest(name='a/seed0', seed=0, inputs=inputs)
    folder.create(Config(), manifest)
    assert folder.result is None and folder.manifest == manifest
    assert folder.status(inputs).state == 'interrupted'
    folder.fail('it broke')
    assert folder.status(inputs).reasons == ['it broke']
    folder.create(Config(), manifest)
    assert folder.result is None
