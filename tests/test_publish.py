"""A suite's tables in MLflow: what arrives, once, and what is registered."""
import csv
import io
import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
import torch
from conftest import BACKBONE, HEAD, tiny_clip_config
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from vita_mm import tracking
from vita_mm.description import describe
from vita_mm.harness.report.content import compose
from vita_mm.harness.report.exports import to_csv
from vita_mm.harness.report.gather import gather
from vita_mm.harness.report.provenance import find_provenance
from vita_mm.harness.report.publish import Publisher
from vita_mm.harness.report.report import write_report
from vita_mm.harness.report.results import Cell, RowResult, TableResult
from vita_mm.harness.report.statistics import Estimate
from vita_mm.harness.report.tables import print_table
from vita_mm.harness.run.folder import RunFolder, Status
from vita_mm.harness.run.plan import Place
from vita_mm.harness.run.result import Weights
from vita_mm.harness.spec.published import Figure
from vita_mm.harness.spec.suite import ROOT, Column, Row, Suite, Table
from vita_mm.inference import Predictor
from vita_mm.io.checkpoints import read_tensors
from vita_mm.models.common.description import KEY
from vita_mm.systems import SYSTEMS
from vita_mm.tracking.probes import digest_file

TOP1 = Column('top1', 'Top-1')
PAPER = Figure('table6', 'csc', 'CSC', 'top1', 73.0, None, 'protocol', 'source')
ROW = Row('table6', 'csc', 'Vita-CLIP + CSC', train='some.py', tags=dict(mv=0, mc=8))
SUITE = Suite('paper', 'the paper', [Table('table6', 'Prompts', {'top1': TOP1}, [ROW])])


MODEL = 'vita_mm-paper-table6-csc'


@pytest.fixture
def uri(tmp_path, monkeypatch, empty_database):
    uri = f'sqlite:///{tmp_path}/mlflow.db'
    shutil.copyfile(empty_database, tmp_path / 'mlflow.db')
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
        RunFolder(folder).finish(
            datasets=[dict(name='k400/val.txt', digest='d' * 64, context='test',
                           source='data/k400/val.txt')],
            weights=dict(path='epoch_1.pth', sha256=digest_file(checkpoint)))
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
    assert {run.data.tags['seed'] for run in children} == {'0', '1', 'mean'}
    assert len(find(uri)) == 5  # and the parent of the runs
    for run in children:
        assert run.data.tags['mlflow.parentRunId'] == parent.info.run_id
        assert run.info.status == 'FINISHED'
    run, = find(uri, row='csc', seed='1')
    assert run.data.params == dict(mv='0', mc='8', suite='paper', table='table6',
                                   row='csc', seed='1')
    assert run.data.params.items() <= run.data.tags.items()
    assert run.data.tags['verdict'] == 'reproduced'
    assert run.data.tags['run.top1'] == 'runs/csc@test/seed1'
    assert run.data.metrics == pytest.approx(
        dict(top1=73.1, top1_videos=19_000, paper_top1=73.0, delta_top1=0.1))
    dataset, = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ('k400/val.txt', 'd' * 32)


def test_the_mean_of_a_row_is_that_of_the_report(uri, out):
    """What a comparison of rows in MLflow draws, and the files of the report."""
    results = measured(out, 72.8, 73.5, estimate=Estimate(
        73.15, 71., 75.3, 0.001, 2, 19_000, 1., 1., 1.))
    publish(out, results)
    run, = find(uri, row='csc', seed='mean')
    assert run.data.tags['mlflow.parentRunId'] == find(
        uri, row='csc', seed='0')[0].data.tags['mlflow.parentRunId']
    line, = csv.DictReader(io.StringIO(to_csv(SUITE, results[0])))
    assert run.data.metrics == {
        name: float(line[column]) for name, column in dict(
            top1='ours', top1_seeds_std='seeds_std', top1_low='ours_low',
            top1_high='ours_high').items()}
    item = print_table(SUITE, results[0], []).lines[0].items[0]
    assert item.text == f'{run.data.metrics["top1"]:.2f} ± 0.49'
    publish(out, measured(out, 72.8))  # the other seed is stale
    run, = find(uri, row='csc', seed='mean')
    assert run.data.tags['superseded'] == 'true'


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
    tables = client.list_artifacts(parent.info.run_id, 'report/tables')
    assert [item.path for item in tables] == ['report/tables/table6.csv']
    files = client.list_artifacts(runs.info.run_id, 'report')
    assert {item.path for item in files} == {'report/report.md', 'report/tables'}


def test_the_best_model_of_a_reproduced_row_is_registered_once(uri, out, tmp_path):
    for _ in range(2):
        publish(out, measured(out, 72.8, 73.1))
    client = MlflowClient(uri)
    version, = client.search_model_versions("name = 'vita_mm-paper-table6-csc'")
    run, = find(uri, row='csc', seed='1')
    assert version.run_id == run.info.run_id and version.tags['top1'] == '73.1'
    folder = f'model/{version.tags["checkpoint.sha256"][:12]}/model.pth'
    file = client.download_artifacts(run.info.run_id, folder, str(tmp_path))
    content = read_tensors(file)
    assert set(content) == {'state_dict', 'meta'}
    assert content['meta'] == {'vita_mm': '{}'}
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


def seed_folder(out, seed):
    return out / 'runs' / 'csc@test' / f'seed{seed}'


def set_checkpoint(out, seed, file):
    """Another training was measured."""
    folder = RunFolder(seed_folder(out, seed))
    result = folder.result
    result.model_copy(update=dict(weights=Weights(
        path=str(file), sha256=digest_file(file)))).write(folder.path / 'result.json')


def test_splits_and_the_run_that_measured_are_named(uri, out):
    backend = tracking.MLflowTracking(str(out))
    backend.start('test', seed_folder(out, 0) / 'work')
    run_id = backend.run_id
    backend.close()
    publish(out, measured(out, 72.8, 73.1, spreads={0: 0.5, 1: 0.6}))
    first, = find(uri, row='csc', seed='0')
    second, = find(uri, row='csc', seed='1')
    assert first.data.tags['mlflow_run.top1'] == run_id
    assert 'mlflow_run.top1' not in second.data.tags
    assert (first.data.metrics['top1_split_std'],
            second.data.metrics['top1_split_std']) == (0.5, 0.6)


def test_what_is_said_differently_changes_tags_only(uri, out):
    results = measured(out, 72.8)
    publish(out, results)
    row = results[0].rows[0]
    row.row = replace(row.row, tags=dict(mv=0, mc=16), tolerance=0.01)
    publish(out, results)
    run, = find(uri, row='csc')
    assert run.data.tags['mc'] == '16' and run.data.tags['verdict'] == 'below'
    assert run.data.params['mc'] == '8'  # MLflow never changes a param


def test_a_number_that_comes_back_is_a_new_run(uri, out):
    for value in (72.8, 75.0, 72.8):
        publish(out, measured(out, value))
    assert len(find(uri, row='csc')) == 3
    assert [run.data.metrics['top1'] for run in find(uri, row='csc')
            if 'superseded' not in run.data.tags] == [72.8]


def test_a_clock_that_is_set_back_publishes_nothing_again(uri, out, monkeypatch):
    moments = iter(range(9_000_000, 0, -1_000))
    monkeypatch.setattr('vita_mm.tracking.journal.now', lambda: next(moments))
    publish(out, measured(out, 72.8))
    for _ in range(3):
        publish(out, measured(out, 75.0))
    rows = find(uri, row='csc')
    assert sorted(run.data.metrics['top1'] for run in rows) == [72.8, 75.0]
    assert [run.data.metrics['top1'] for run in rows
            if 'superseded' not in run.data.tags] == [75.0]


@pytest.mark.parametrize('place', ['runs/csc/seed0/work', 'stale/csc/seed0-2026/work'])
def test_a_call_closes_the_runs_that_were_killed(uri, out, place):
    """All of its records were sent before; then the sweep moved it aside."""
    journal = tracking.Journal.create(
        out / place / 'mlflow', 'train', experiment='vita_mm', run_name='killed',
        run_id=None, parent=None, uri=uri)
    journal.write('status', status='RUNNING', time=1_000)
    tracking.Delivery(journal, uri).send()
    publish(out, measured(out, 72.8))
    run, = (run for run in find(uri) if run.info.run_name == 'killed')
    assert run.info.status == 'RUNNING'  # the process that holds it is alive
    journal.release()
    publish(out, measured(out, 72.8))
    run, = (run for run in find(uri) if run.info.run_name == 'killed')
    assert run.info.status == 'KILLED'


def test_tables_of_a_deleted_experiment_come_back(uri, out):
    publish(out, measured(out, 72.8))
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name('vita_mm').experiment_id)
    publish(out, measured(out, 75.0))
    assert len(find(uri, row='csc')) == 2


def test_one_seed_that_fails_does_not_hide_the_other(uri, out):
    broken = measured(out, 72.8, state='failed', error='out of memory')
    publish(out, broken)
    assert find(uri, row='csc', seed='0')[0].data.metrics['top1'] == 72.8
    publish(out, measured(out, 72.8, 73.1))
    failed, = find(uri, row='csc', seed='-')
    assert failed.data.tags['superseded'] == 'true'
    publish(out, broken)  # with the same words
    assert len(find(uri, row='csc', seed='-')) == 2
    assert sum('superseded' in run.data.tags for run in find(uri, row='csc', seed='-')
               ) == 1


def test_a_table_without_any_number_is_no_run(uri, out):
    publisher = Publisher(SUITE, out)
    publisher.publish(measured(out, state='not run'))
    assert publisher.deliver() == 0 and tracking.find_journals(out) == []


@pytest.mark.parametrize('sent', [False, True])
@pytest.mark.parametrize('number', range(1, 9))
def test_a_call_that_is_killed_is_made_up_for(uri, out, monkeypatch, number, sent):
    """After this number of records; ``sent``: what there was of them, as KILLED."""
    records = iter(range(number))
    write = tracking.Journal.write

    def write_some(journal, kind, **fields):
        if next(records, None) is None:
            raise KeyboardInterrupt
        write(journal, kind, **fields)

    results = measured(out, 75.0)
    with monkeypatch.context() as patched:
        patched.setattr(tracking.Journal, 'write', write_some)
        with pytest.raises(KeyboardInterrupt):
            Publisher(SUITE, out).publish(results)
    publisher = Publisher(SUITE, out)
    if sent:
        publisher.deliver()
    publisher.publish(results)
    publisher.deliver()
    parent, = find(uri, table='table6', title='Prompts')
    run, = find(uri, row='csc')
    assert len(find(uri)) == 2
    assert (parent.info.status, run.info.status) == ('FINISHED', 'FINISHED')
    assert run.data.tags['verdict'] == 'above' and run.data.params['mc'] == '8'
    assert len(run.inputs.dataset_inputs) == 1
    history = MlflowClient(uri).get_metric_history(run.info.run_id, 'top1')
    assert [point.value for point in history] == [75.0]


def test_a_changed_report_replaces_even_a_copy_that_was_cut_off(uri, out, tmp_path,
                                                                monkeypatch):
    def cut_off(source, target):
        Path(target).write_text('who')
        raise KeyboardInterrupt

    publisher = publish(out, measured(out, 72.8))
    file = tmp_path / 'report' / 'table6.csv'
    file.parent.mkdir()
    file.write_text('first')
    publisher.attach(file.parent)
    file.write_text('whole')
    with monkeypatch.context() as patched:
        patched.setattr(shutil, 'copyfile', cut_off)
        with pytest.raises(KeyboardInterrupt):
            publisher.attach(file.parent)
    publisher = Publisher(SUITE, out)
    publisher.attach(file.parent)
    publisher.deliver()
    publisher.attach(file.parent)
    assert publisher.deliver() == 0
    for name in ('runs', 'table6'):
        place, = {run.info.artifact_uri for run in find(uri, table=name)
                  if 'row' not in run.data.tags}
        assert Path(place, 'report/table6.csv').read_text() == 'whole'


def test_a_registered_model_predicts(uri, out, tmp_path, build_model, tiny_weights):
    model = build_model(dtype=torch.float32)
    arch = tiny_clip_config()
    description = describe(
        dict(clip=dict(arch=arch, pretrained=tiny_weights(arch)), backbone=BACKBONE,
             cls_head=HEAD, data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1])),
        [dict(type='UniformSample', clip_len=4)], system=SYSTEMS['vita_clip'])
    file = tmp_path / 'epoch_3.pth'
    torch.save(dict(
        state_dict=model.state_dict(), meta={KEY: json.dumps(description), 'epoch': 3},
        optimizer=torch.optim.AdamW(model.parameters()).state_dict()), file)
    set_checkpoint(out, 0, file)
    publish(out, measured(out, 72.8))
    folder = download_artifacts(f'models:/{MODEL}/1', dst_path=str(tmp_path / 'got'),
                                tracking_uri=uri)
    content = read_tensors(Path(folder, 'model.pth'))
    assert set(content) == {'state_dict', 'meta'} and set(content['meta']) == {KEY}
    loaded = Predictor(Path(folder, 'model.pth')).model.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded[key], value)


def test_the_run_of_a_stock_recognizer_goes_all_the_way(uri, out, tmp_path):
    """It has no CLIP, no classes, no description, and counts no videos."""
    row = Row('t', 'tsn', 'TSN', train='tsn.py')
    table = Table('t', 'T', {'top1': Column('top1', 'Top-1', tolerance=100)}, [row])
    suite = Suite('mine', 'mine', [table])
    folder = RunFolder(seed_folder(out, 0))
    file = folder.path / 'work' / 'weights.pth'
    file.parent.mkdir()
    torch.save(dict(state_dict=dict(a=torch.ones(2)), meta=dict(epoch=1)), file)
    folder.finish(
        metrics={'acc/top1': 0.25, 'acc/top5': 0.5, 'acc/mean1': 0.2,
                 'trainable_parameters': 7},
        weights=Weights(path='work/weights.pth', sha256=digest_file(file)))
    run = SimpleNamespace(name='tsn/seed0', folder=folder, done=True, trained=None,
                          status=Status('done'), config={})
    plan = SimpleNamespace(suite=suite, runs={run.name: run}, places=[
        Place(table, row, table.columns['top1'], 0, run)])
    result, = results = gather(plan)
    cell = result.cell('tsn', 'top1')
    assert (cell.mean, cell.videos, cell.state) == (25, None, 'done')
    page = write_report(compose(suite, results, find_provenance(plan)),
                        tmp_path / 'report')
    assert '25.00' in page.read_text() and 'precision: float32' in page.read_text()
    # As if it were the paper's, so that it is registered.
    cell.paper = replace(PAPER, value=25.0)
    publish(out, results, suite)
    arrived, = find(uri, row='tsn', seed='0')
    assert arrived.data.metrics['top1'] == 25 and arrived.info.status == 'FINISHED'
    version, = MlflowClient(uri).search_model_versions("name = 'vita_mm-mine-t-tsn'")
    content = read_tensors(Path(version.source, 'model.pth'))
    assert content['meta'] == {} and list(content['state_dict']) == ['a']


def versions_of(uri):
    found = MlflowClient(uri).search_model_versions(f"name = '{MODEL}'")
    return sorted(found, key=lambda version: int(version.version))


def test_a_version_for_each_checkpoint_stays_as_it_was(uri, out):
    results = measured(out, 72.8)
    first, second = (seed_folder(out, seed) / 'epoch_1.pth' for seed in (0, 1))
    for file in (first, second):  # the same number of another training
        set_checkpoint(out, 0, file)
        publish(out, results)
    publish(out, measured(out, 72.9))  # another number of the same training
    for path in out.rglob('sent.json'):  # the bookkeeping is lost
        path.unlink()
    publish(out, results)
    publish(out, measured(out, 72.9))
    assert [version.tags['checkpoint.sha256'] for version in versions_of(uri)] == [
        digest_file(first), digest_file(second)]
    assert [read_tensors(Path(version.source, 'model.pth'))['state_dict']['vectors'][0]
            for version in versions_of(uri)] == [0, 1]


def test_a_checkpoint_that_is_gone_is_said(uri, out, capsys):
    (seed_folder(out, 0) / 'epoch_1.pth').unlink()
    publish(out, measured(out, 72.8))
    assert 'table6/csc is not registered as a model: there is no checkpoint' in (
        capsys.readouterr().out)
    assert versions_of(uri) == [] and len(find(uri, row='csc')) == 1


def test_a_model_that_could_not_be_stored_is_no_version(uri, out):
    publisher = Publisher(SUITE, out)
    publisher.publish(measured(out, 72.8))
    for path in out.rglob('model.pth'):
        path.unlink()
    publisher.deliver()
    assert versions_of(uri) == []
    assert find(uri, row='csc')[0].info.status == 'FINISHED'


def test_a_report_waits_for_the_artifact_store(uri, out, tmp_path, capsys):
    (tmp_path / 'mlartifacts').write_text('')
    publisher = publish(out, measured(out, 72.8))
    file = tmp_path / 'report' / 'table6.csv'
    file.parent.mkdir()
    file.write_text('one')
    publisher.attach(file.parent)
    publisher.deliver()
    assert 'wait in' in capsys.readouterr().out
    assert versions_of(uri) == [] and find(uri, row='csc')[0].info.status == 'FINISHED'
    (tmp_path / 'mlartifacts').unlink()
    assert publisher.deliver() == 3  # the model, and the table in two runs
    assert len(versions_of(uri)) == 1 and publisher.deliver() == 0


def test_what_waits_is_sent_by_the_tool_and_names_no_password(uri, out, monkeypatch,
                                                              capsys):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://user:swordfish@127.0.0.1:9')
    publish(out, measured(out, 72.8))
    said, = capsys.readouterr().out.splitlines()
    assert 'swordfish' not in said + ''.join(
        path.read_text() for path in out.rglob('*.json*'))
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    monkeypatch.setattr('sys.argv', ['mlflow_sync.py', str(out)])
    runpy.run_path(str(ROOT / 'tools/mlflow_sync.py'), run_name='__main__')
    assert find(uri, row='csc')[0].info.status == 'FINISHED'
    assert len(versions_of(uri)) == 1
