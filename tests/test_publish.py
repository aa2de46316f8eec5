"""A suite's tables in MLflow: what arrives, once, and what is registered."""
import json
from dataclasses import replace

import pytest
import torch
import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
from mlflow import MlflowClient

from vita_mm.checkpoints import read_tensors
from vita_mm.harness.publish import Publisher
from vita_mm.harness.published import Figure
from vita_mm.harness.results import Cell, RowResult, TableResult
from vita_mm.harness.suite import Column, Row, Suite, Table
from vita_mm.tracking.probes import digest_file

TOP1 = Column('top1', 'Top-1')
PAPER = Figure('table6', 'csc', 'CSC', 'top1', 73.0, None, 'protocol', 'source')
ROW = Row('table6', 'csc', 'Vita-CLIP + CSC', train='some.py', tags=dict(mv=0, mc=8))
SUITE = Suite('paper', 'the paper', [Table('table6', 'Prompts', {'top1': TOP1}, [ROW])])


@pytest.fixture
def uri(tmp_path, monkeypatch):
    uri = f'sqlite:///{tmp_path}/mlflow.db'
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    return uri


@pytest.fixture
def out(tmp_path):
    """The folders of two seeds, as their runs leave them."""
    for seed in (0, 1):
        folder = tmp_path / 'out' / 'runs' / 'csc@test' / f'seed{seed}'
        folder.mkdir(parents=True)
        checkpoint = folder / 'epoch_1.pth'
        torch.save(dict(state_dict=dict(vectors=torch.full((2,), float(seed))),
                        optimizer=dict(state={}), meta=dict(vita_mm='{}', epoch=1)),
                   checkpoint)
        (folder / 'manifest.json').write_text(json.dumps(dict(
            datasets=[dict(name='k400/val.txt', digest='d' * 64, context='test',
                           source='data/k400/val.txt')],
            checkpoint=dict(path=str(checkpoint), sha256=digest_file(checkpoint)))))
    return tmp_path / 'out'


def measured(out, *values, **fields):
    """The suite's results, with these accuracies of seeds 0, 1, …"""
    folders = {seed: out / 'runs' / 'csc@test' / f'seed{seed}'
               for seed in range(len(values))}
    cell = Cell(TOP1, **{**dict(state='done', values=dict(enumerate(values)),
                                videos=19_000, paper=PAPER, folders=folders), **fields})
    return [TableResult(SUITE.tables[0], [RowResult(ROW, {'top1': cell})])]


def publish(out, results, suite=SUITE):
    publisher = Publisher(suite, out)
    publisher.runs_parent()
    publisher.publish(results)
    publisher.deliver()
    return publisher


def find(uri, **tags) -> list:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name('vita_mm').experiment_id
    return [run for run in client.search_runs([experiment])
            if all(run.data.tags.get(key) == value for key, value in tags.items())]


def test_a_row_arrives_beside_the_papers_figure(uri, out):
    publish(out, measured(out, 72.8, 73.1))
    parent, = find(uri, table='table6', title='Prompts')
    children = find(uri, row='csc')
    assert len(children) == 2 and len(find(uri)) == 4  # and the parent of the runs
    for run in children:
        assert run.data.tags['mlflow.parentRunId'] == parent.info.run_id
        assert run.info.status == 'FINISHED'
    run, = find(uri, row='csc', seed='1')
    assert run.data.params == dict(mv='0', mc='8', suite='paper', table='table6',
                                   row='csc', label='Vita-CLIP + CSC', seed='1')
    assert run.data.params.items() <= run.data.tags.items()
    assert run.data.tags['verdict'] == 'reproduced'
    assert run.data.tags['run.top1'] == 'runs/csc@test/seed1'
    assert run.data.metrics == pytest.approx(
        dict(top1=73.1, top1_videos=19_000, paper_top1=73.0, delta_top1=0.1))
    dataset, = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ('k400/val.txt', 'd' * 32)


def test_the_papers_figures_stay_away_from_the_miniature(uri, out):
    publish(out, measured(out, 72.8), replace(SUITE, compared='order'))
    run, = find(uri, row='csc')
    assert run.data.tags['verdict'] == 'protocol differs'
    assert set(run.data.metrics) == {'top1', 'top1_videos'}


def test_the_same_again_changes_nothing_and_a_new_number_supersedes(uri, out):
    publish(out, measured(out, 72.8))
    before = {path: path.read_bytes() for path in out.rglob('journal.jsonl')}
    publish(out, measured(out, 72.8))
    assert before == {path: path.read_bytes() for path in out.rglob('journal.jsonl')}
    publish(out, measured(out, 75.0))
    old, = find(uri, row='csc', superseded='true')
    new, = (run for run in find(uri, row='csc') if run.info.run_id != old.info.run_id)
    assert (old.data.metrics['top1'], new.data.metrics['top1']) == (72.8, 75.0)
    assert new.data.tags['verdict'] == 'above' and len(find(uri)) == 4


def test_a_failed_row_is_a_failed_run(uri, out):
    publish(out, measured(out, state='failed', error='out of memory'))
    run, = find(uri, row='csc')
    assert run.info.status == 'FAILED'
    assert run.data.tags['error.top1'] == 'out of memory'


def test_report_files_are_artifacts(uri, out, tmp_path):
    publisher = publish(out, measured(out, 72.8))
    report = tmp_path / 'report'
    (report / 'tables').mkdir(parents=True)
    (report / 'report.md').write_text('all')
    (report / 'tables' / 'table6.csv').write_text('one')
    publisher.attach(report)
    publisher.deliver()
    client = MlflowClient(uri)
    parent, = find(uri, table='table6', title='Prompts')
    runs, = find(uri, table='runs')
    assert [item.path for item in client.list_artifacts(parent.info.run_id, 'report/tables')
            ] == ['report/tables/table6.csv']
    assert {item.path for item in client.list_artifacts(runs.info.run_id, 'report')} == {
        'report/report.md', 'report/tables'}


def test_the_best_model_of_a_reproduced_row_is_registered_once(uri, out, tmp_path):
    for _ in range(2):
        publish(out, measured(out, 72.8, 73.1))
    client = MlflowClient(uri)
    version, = client.search_model_versions("name = 'vita_mm-paper-table6-csc'")
    run, = find(uri, row='csc', seed='1')
    assert version.run_id == run.info.run_id and version.tags['top1'] == '73.1'
    file = client.download_artifacts(run.info.run_id, 'model/model.pth', str(tmp_path))
    content = read_tensors(file)
    assert set(content) == {'state_dict', 'meta'} and content['meta'] == {'vita_mm': '{}'}
    assert torch.equal(content['state_dict']['vectors'], torch.ones(2))
    publish(out, measured(out, 60.0, 61.0))  # not reproduced
    assert len(client.search_model_versions("name = 'vita_mm-paper-table6-csc'")) == 1


def test_records_wait_for_a_server_that_is_away(uri, out, monkeypatch, capsys):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:9')
    publish(out, measured(out, 72.8))
    assert 'the next call sends them' in capsys.readouterr().out
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    publish(out, measured(out, 72.8))
    assert len(find(uri, row='csc')) == 1
