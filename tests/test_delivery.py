"""What is recorded reaches MLflow through outages, deletions and bad journals.

A real MLflow store (SQLite); what is away is made so by files or raised by a client.
"""
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import threading
import time
from pathlib import Path

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from vita_mm import tracking
from mlflow import MlflowClient, MlflowException
from mlflow.entities import ViewType
from mmengine.config import Config
from vita_mm.engine.runs import override
from vita_mm.errors import UserError
from vita_mm.tracking import journal as journal_module
from vita_mm.tracking import sender as sender_module
from vita_mm.tracking import store
from vita_mm.tracking.delivery import FOLDER_TAG, Delivery

ROOT = Path(__file__).parents[1]


@pytest.fixture
def uri(tmp_path, monkeypatch, empty_database):
    shutil.copyfile(empty_database, tmp_path / 'mlflow.db')
    uri = f'sqlite:///{tmp_path}/mlflow.db'
    monkeypatch.chdir(tmp_path)  # where MLflow's own default for artifacts is
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', 'false')
    for name in ('MLFLOW_RUN_ID', 'MLFLOW_EXPERIMENT_NAME', 'MLFLOW_EXPERIMENT_ID'):
        monkeypatch.delenv(name, raising=False)
    return uri


@pytest.fixture
def client(uri):
    return MlflowClient(uri)


@pytest.fixture
def said(monkeypatch):
    """What was logged, in order."""
    messages = []
    for module in ('delivery', 'journal', 'sender', 'store'):
        monkeypatch.setattr(f'vita_mm.tracking.{module}.print_log',
                            lambda message, *args: messages.append(message))
    return messages


def make_journal(folder, uri, ended=True, **header):
    """A journal with an image, a text and three points, whose process is gone."""
    journal = tracking.Journal.create(
        folder / 'mlflow', 'train', **{**dict(
            experiment='vita_mm', run_name='old', run_id=None, parent=None, uri=uri),
            **header})
    journal.write('status', status='RUNNING', time=1_000)
    journal.write('text', path='notes/note.txt', text='hello')
    (journal.folder / 'files').mkdir()
    (journal.folder / 'files' / 'picture.png').write_bytes(b'png')
    journal.write('file', path='picture.png')
    for step in (1, 2, 3):
        journal.write('metrics', step=step, time=1_000 * step, values=dict(loss=step))
    if ended:
        journal.write('status', status='FINISHED', time=4_000)
    journal.release()
    return journal


def find_runs(client, experiment='vita_mm', view=ViewType.ACTIVE_ONLY):
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], run_view_type=view)


def losses(client, run):
    return [point.value for point in client.get_metric_history(run.info.run_id, 'loss')]


def artifacts(run):
    place = Path(run.info.artifact_uri)
    return sorted(str(path.relative_to(place)) for path in place.rglob('*')
                  if path.is_file())


WHOLE = ['notes/note.txt', 'picture.png']


# The artifact store

def test_artifacts_wait_for_their_store(client, uri, tmp_path, said):
    """A file stands where the folder of the artifacts should be."""
    (tmp_path / 'mlartifacts').write_text('')
    journal = make_journal(tmp_path / 'work', uri)
    assert tracking.sync(journal) == 6
    run, = find_runs(client)
    assert (run.info.status, losses(client, run)) == ('FINISHED', [1, 2, 3])
    assert journal.count_unsent() == 2 and not journal.is_sent()
    assert len([line for line in said if 'artifact store' in line]) == 1
    assert tracking.sync(journal) == 0 and journal.count_unsent() == 2

    (tmp_path / 'mlartifacts').unlink()
    assert tracking.sync(journal) == 2
    assert artifacts(run) == WHOLE and journal.is_sent()
    assert tracking.sync(journal) == 0


def test_the_sender_tries_again_and_the_next_run_does(client, uri, tmp_path, said):
    (tmp_path / 'mlartifacts').write_text('')
    backend = tracking.MLflowTracking(str(tmp_path / 'work'))
    backend.start()
    backend._sender.interval = backend._sender.retry = 0.05
    backend.add_text('first.txt', 'one')
    run, = find_runs(client)
    wait_for(lambda: backend.journal.sent()['waiting'])
    (tmp_path / 'mlartifacts').unlink()
    wait_for(lambda: backend.journal.is_sent())
    assert artifacts(run) == ['first.txt']

    shutil.move(tmp_path / 'mlartifacts', tmp_path / 'aside')
    (tmp_path / 'mlartifacts').write_text('')
    backend.add_text('second.txt', 'two')
    backend.close()
    assert any('1 records in' in line and 'have not reached' in line for line in said)
    assert client.get_run(run.info.run_id).info.status == 'FINISHED'
    (tmp_path / 'mlartifacts').unlink()
    shutil.move(tmp_path / 'aside', tmp_path / 'mlartifacts')
    backend = tracking.MLflowTracking(str(tmp_path / 'work'))
    backend.start()
    backend.close()
    assert artifacts(run) == ['first.txt', 'second.txt']


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_waited_does_not_undo_what_came_later(client, uri, tmp_path, monkeypatch):
    journal = make_journal(tmp_path, uri, ended=False)
    journal.write('tags', values=dict(a='old', b='kept'))
    delivery = Delivery(journal, uri)

    def fail(self, *args):
        raise OSError('no space left on device')

    with monkeypatch.context() as broken:
        for name in ('_send_text', '_send_tags', '_send_status'):
            broken.setattr(Delivery, name, fail)
        delivery.send()
    assert len(journal.sent()['waiting']) == 3
    journal.write('text', path='notes/note.txt', text='newer')
    journal.write('tags', values=dict(a='new'))
    journal.write('status', status='FINISHED', time=9_000)
    delivery.send()
    run, = find_runs(client)
    assert (run.data.tags['a'], run.data.tags['b']) == ('new', 'kept')
    assert run.info.status == 'FINISHED' and journal.is_sent()
    assert Path(run.info.artifact_uri, 'notes/note.txt').read_text() == 'newer'


def test_one_that_always_fails_holds_up_no_other(client, uri, tmp_path, monkeypatch):
    journal = make_journal(tmp_path, uri)
    log_text = MlflowClient.log_text

    def fail_once(self, *args):
        if not healed:
            raise MlflowException('500')
        return log_text(self, *args)

    healed = []
    monkeypatch.setattr(MlflowClient, 'log_text', fail_once)
    delivery = Delivery(journal, uri)
    delivery.send()
    assert artifacts(find_runs(client)[0]) == ['picture.png']
    assert journal.count_unsent() == 1
    healed.append(True)
    assert delivery.send(late=False) == 0 and delivery.send() == 1


def test_a_model_waits_too(client, uri, tmp_path):
    (tmp_path / 'mlartifacts').write_text('')
    journal = make_journal(tmp_path / 'work', uri)
    journal.write('model', path='picture.png', name='m',
                  tags={'checkpoint.sha256': '0' * 64})
    journal.release()
    tracking.sync(journal)
    assert not client.search_registered_models() and journal.count_unsent() == 3
    (tmp_path / 'mlartifacts').unlink()
    tracking.sync(journal)
    assert client.search_model_versions("name = 'm'") and journal.is_sent()


def test_a_file_that_is_gone_is_said_once_and_not_tried_again(client, uri, tmp_path,
                                                              said):
    journal = make_journal(tmp_path, uri)
    (journal.folder / 'files' / 'picture.png').unlink()
    tracking.sync(journal)
    assert journal.is_sent() and artifacts(find_runs(client)[0]) == ['notes/note.txt']
    line, = [line for line in said if 'refused' in line]
    assert 'file picture.png' in line and 'there is no file' in line


# Deleted runs and experiments

@pytest.mark.parametrize('what', ['run', 'experiment', 'run for good'])
def test_a_run_that_is_deleted_goes_on(client, uri, tmp_path, what, said):
    journal = make_journal(tmp_path / 'work', uri, ended=False)
    delivery = Delivery(journal, uri)
    delivery.send()
    run, = find_runs(client)
    if what == 'experiment':
        client.delete_experiment(run.info.experiment_id)
    else:
        client.delete_run(run.info.run_id)
    if what == 'run for good':
        client._tracking_client.store._hard_delete_run(run.info.run_id)
    journal.write('metrics', step=4, time=4_000, values=dict(loss=4))
    journal.write('tags', values=dict(late='yes'))
    journal.write('status', status='FINISHED', time=5_000)
    delivery.send()
    after, = find_runs(client)
    assert (after.info.run_id == run.info.run_id) == (what != 'run for good')
    assert (after.info.status, after.data.tags['late']) == ('FINISHED', 'yes')
    assert losses(client, after) == [1, 2, 3, 4] and artifacts(after) == WHOLE
    assert journal.is_sent() and any('deleted' in line for line in said)


@pytest.mark.parametrize('delete', ['run', 'experiment'])
def test_deleted_between_two_processes(client, uri, tmp_path, delete, said):
    journal = make_journal(tmp_path, uri, ended=False)
    Delivery(journal, uri).send()
    run, = find_runs(client)
    (client.delete_run(run.info.run_id) if delete == 'run'
     else client.delete_experiment(run.info.experiment_id))
    assert tracking.sync(journal) == 1  # that it was killed
    after, = find_runs(client)
    assert (after.info.run_id, after.info.status) == (run.info.run_id, 'KILLED')


def test_a_start_into_a_deleted_experiment(client, uri, tmp_path, said):
    client.delete_experiment(client.create_experiment('vita_mm'))
    backend = tracking.MLflowTracking(str(tmp_path))
    backend.add_scalar('loss', 1, 1)
    backend.close()
    run, = find_runs(client)
    assert run.info.status == 'FINISHED'
    line, = [line for line in said if 'deleted' in line]
    assert "experiment 'vita_mm' was deleted: it is restored" in line


def test_an_experiment_that_cannot_be_restored_is_named(client, uri, tmp_path,
                                                        monkeypatch):
    def refuse(self, *args):
        raise MlflowException('not allowed')

    client.delete_experiment(client.create_experiment('vita_mm'))
    monkeypatch.setattr(MlflowClient, 'restore_experiment', refuse)
    journal = make_journal(tmp_path, uri)
    with pytest.raises(tracking.ServerAway, match="'vita_mm' is deleted .*: restore it"):
        tracking.sync(journal)
    assert journal.count_unsent() == 8
    monkeypatch.undo()
    monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    assert tracking.sync(journal) == 8


def test_threads_that_send_parts_make_one_parent(client, uri, tmp_path, monkeypatch):
    def create_slowly(*args, **options):
        time.sleep(0.2)
        return create(*args, **options)

    create = MlflowClient.create_run
    monkeypatch.setattr(MlflowClient, 'create_run', create_slowly)
    whole = make_journal(tmp_path / 'whole', uri)
    parts = [make_journal(tmp_path / name, uri, parent=whole.header)
             for name in ('one', 'other')]
    threads = [threading.Thread(target=tracking.sync, args=(journal, ))
               for journal in (whole, *parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(find_runs(client)) == 3


def test_a_deleted_parent_is_restored(client, uri, tmp_path):
    parent = make_journal(tmp_path / 'whole', uri)
    tracking.sync(parent)
    run, = find_runs(client)
    client.delete_run(run.info.run_id)
    tracking.sync(make_journal(tmp_path / 'part', uri, parent=parent.header))
    runs = {found.data.tags.get('mlflow.parentRunId') for found in find_runs(client)}
    assert runs == {None, run.info.run_id} and len(find_runs(client)) == 2


def test_a_run_says_where_its_own_journal_is(client, uri, tmp_path):
    """Also one that its part has made, and one that was made elsewhere."""
    given = client.create_run(client.create_experiment('vita_mm')).info.run_id
    for run_id in (None, given):
        whole = make_journal(tmp_path / f'whole {run_id}', uri, run_id=run_id)
        part = make_journal(tmp_path / f'part {run_id}', uri, parent=whole.header)
        tracking.sync(part)
        tracking.sync(whole)
        for journal in (whole, part):
            tags = client.get_run(journal.sent()['run_id']).data.tags
            assert tags[FOLDER_TAG] == str(journal.folder)
            assert tags['vita_mm.journal'] == journal.header['id']
    assert len(find_runs(client)) == 4
    moved = tracking.Journal(shutil.move(part.folder, tmp_path / 'moved'))
    moved.write('tags', values=dict(a='b'))
    moved.release()
    tracking.sync(moved)
    tags = client.get_run(moved.sent()['run_id']).data.tags
    assert tags[FOLDER_TAG] == str(tmp_path / 'moved')


# Journals

LINES = {
    'not UTF-8': b'\xff\xfe{}', 'no JSON': b'{', 'a list': b'[1, 2]', 'null': b'null',
    'nested': b'[' * 100_000, 'unknown kind': b'{"kind": "connect"}',
    'kind of a wrong type': b'{"kind": ["metrics"]}', 'no kind': b'{"step": 1}',
    'missing field': b'{"kind": "metrics", "step": 1, "time": 1}',
    'huge step': b'{"kind": "metrics", "step": %d, "time": 1, "values": {"a": 1}}'
                 % 2 ** 70,
    'text as value': b'{"kind": "metrics", "step": 1, "time": 1, "values": {"a": "1"}}',
    'huge value': b'{"kind": "metrics", "step": 1, "time": 1, "values": {"a": 1%s}}'
                  % (b'0' * 400),
    'huge number': b'{"kind": "metrics", "step": 1%s}' % (b'0' * 5_000),
    'values no dict': b'{"kind": "tags", "values": ["a"]}',
    'status': b'{"kind": "status", "status": "DONE", "time": 1}',
    'time': b'{"kind": "status", "status": "KILLED", "time": "now"}',
    'dataset': b'{"kind": "dataset", "name": 1}',
    'path above': b'{"kind": "file", "path": "../journal.jsonl"}',
    'whole path': b'{"kind": "file", "path": "/etc/hostname"}',
    'path through': b'{"kind": "file", "path": "a/../../lock"}',
    'text above': b'{"kind": "text", "path": "../../x", "text": "x"}',
    'model': b'{"kind": "model", "path": "picture.png", "name": "a\' or 1", "tags": {}}',
}


@pytest.mark.parametrize('line', LINES.values(), ids=LINES)
def test_a_bad_line_is_named_and_the_rest_arrives(client, uri, tmp_path, line, said):
    journal = make_journal(tmp_path, uri, ended=False)
    with open(journal.path, 'ab') as file:
        file.write(line + b'\n')
    journal.write('metrics', step=4, time=4_000, values=dict(loss=4))
    journal.release()
    tracking.sync(journal)
    run, = find_runs(client)
    assert run.info.status == 'KILLED' and losses(client, run) == [1, 2, 3, 4]
    assert artifacts(run) == WHOLE and set(run.data.metrics) == {'loss'}
    warning, = said
    assert f'line 8 of {journal.path} is skipped' in warning
    assert len(warning) < 500 + len(str(journal.path))


def test_a_line_without_end_is_skipped(client, uri, tmp_path, said, monkeypatch):
    monkeypatch.setattr(journal_module, 'LINE_LENGTH', 1_000)
    journal = make_journal(tmp_path, uri, ended=False)
    with open(journal.path, 'ab') as file:
        file.write(b'{"kind": "' + b'x' * 5_000 + b'"}\n')
    journal.write('metrics', step=4, time=4_000, values=dict(loss=4))
    journal.release()
    tracking.sync(journal)
    assert losses(client, find_runs(client)[0]) == [1, 2, 3, 4]
    assert len(said) == 1 and 'longer than 1000 bytes' in said[0]


def test_text_that_no_database_takes_is_mended(client, uri, tmp_path):
    journal = make_journal(tmp_path, uri)
    journal.write('tags', values=dict(path='/data/\udcff.mp4', other='a\0b'))
    journal.release()
    tracking.sync(journal)
    run, = find_runs(client)
    assert run.data.tags['path'] == '/data/?.mp4' and journal.is_sent()


@pytest.mark.parametrize('content', [
    '{}', '[]', 'null', '"a"', '{"run_id": 1, "bytes": 0}',
    '{"run_id": "x y", "bytes": 0}',
    '{"run_id": null, "bytes": -1}', '{"run_id": null, "bytes": 99999999}',
    '{"run_id": null, "bytes": "1"}', '{"run_id": null, "bytes": 7}',
    '{"run_id": null, "bytes": 0, "waiting": [5]}',
    '{"run_id": null, "bytes": 0, "waiting": 1}',
    '{"run_id": null, "bytes": 1e400}', '\ud83d'])
def test_bad_bookkeeping_sends_all_again(client, uri, tmp_path, content):
    journal = make_journal(tmp_path, uri)
    tracking.sync(journal)
    (journal.folder / 'sent.json').write_bytes(content.encode('utf-8', 'surrogatepass'))
    tracking.sync(journal)
    run, = find_runs(client)
    assert losses(client, run) == [1, 2, 3] and run.info.status == 'FINISHED'
    assert journal.is_sent()


@pytest.mark.parametrize('where', ['file', 'folder', 'files'])
def test_a_link_below_files_is_not_followed(client, uri, tmp_path, where, said):
    secret = tmp_path / 'home' / 'sub' / 'secret.txt'
    secret.parent.mkdir(parents=True)
    secret.write_text('swordfish')
    journal = make_journal(tmp_path / 'work', uri)
    files = journal.folder / 'files'
    if where == 'file':
        (files / 'secret.txt').symlink_to(secret)
    elif where == 'folder':
        (files / 'sub').symlink_to(secret.parent)
    else:
        shutil.rmtree(files)
        files.symlink_to(secret.parent)
    path = 'sub/secret.txt' if where == 'folder' else 'secret.txt'
    journal.write('file', path=path)
    journal.release()
    tracking.sync(journal)
    assert 'secret' not in ''.join(artifacts(find_runs(client)[0]))
    assert any('is a link, or below one' in line for line in said)


@pytest.mark.parametrize('name', ['lock', 'journal.jsonl', 'sent.json.part'])
def test_links_in_a_journal_change_no_other_file(uri, tmp_path, name):
    victim = tmp_path / 'victim'
    victim.write_text('precious')
    journal = make_journal(tmp_path / 'work', uri, ended=False)
    (journal.folder / name).unlink(missing_ok=True)
    (journal.folder / name).symlink_to(victim)
    try:
        tracking.sync(journal)
    except tracking.ServerAway:
        pass
    assert victim.read_text() == 'precious'


def test_a_pipe_in_place_of_a_journal_hangs_nobody(uri, tmp_path, said):
    journal = make_journal(tmp_path, uri)
    journal.path.unlink()
    os.mkfifo(journal.path)
    assert tracking.find_journals(tmp_path) == []


def test_a_full_disk_delays_records(client, uri, tmp_path, said):
    journal = make_journal(tmp_path, uri, ended=False)

    class Full:
        """Takes a part of what is written, then nothing."""

        def __init__(self, file):
            self.file, self.room = file, 10

        def write(self, content):
            if not self.room:
                raise OSError('No space left on device')
            count, self.room = self.file.write(content[:self.room]), 0
            return count

    journal.write('tags', values=dict(a='1'))
    file, journal._file = journal._file, Full(journal._file)
    journal.write('metrics', step=4, time=4_000, values=dict(loss=4))
    journal.write('metrics', step=5, time=5_000, values=dict(loss=5))
    journal._file = file
    journal.write('status', status='FINISHED', time=6_000)
    journal.release()
    tracking.sync(journal)
    assert losses(client, find_runs(client)[0]) == [1, 2, 3, 4, 5]
    assert len(said) == 1 and 'kept in memory until there is room' in said[0]


def test_a_clock_that_is_set_back_does_not_change_the_order(uri, tmp_path, monkeypatch):
    for moment in (9_000_000, 5_000_000):
        monkeypatch.setattr(journal_module, 'now', lambda moment=moment: moment)
        backend = tracking.MLflowTracking(str(tmp_path))
        backend.start('train')
        backend.close()
    first, second = tracking.find_journals(tmp_path)
    assert (first.header['time'], second.header['time']) == (9_000_000, 5_000_000)
    backend.start('train', resume=True)
    assert backend.journal.folder == second.folder
    backend.close()


# How runs end

def test_the_next_run_elsewhere_closes_one_that_was_killed(client, uri, tmp_path):
    """All of its records were sent: nothing but its lock tells that it is dead."""
    journal = make_journal(tmp_path / 'dead', uri, ended=False)
    assert journal.acquire()
    Delivery(journal, uri).send()
    run, = find_runs(client)
    assert run.data.tags[FOLDER_TAG] == str(journal.folder)

    def run_another(name):
        backend = tracking.MLflowTracking(str(tmp_path / name))
        backend.start()
        backend.close()
        return client.get_run(run.info.run_id).info

    assert run_another('first').status == 'RUNNING'  # its lock is held
    journal.release()
    after = run_another('second')
    assert (after.status, after.end_time) == ('KILLED', 3_000)
    assert {found.info.status for found in find_runs(client)} == {'KILLED', 'FINISHED'}


def test_a_foreign_folder_in_a_tag_is_left_alone(client, uri, tmp_path):
    journal = make_journal(tmp_path / 'other', uri, ended=False)
    before = journal.path.read_bytes()
    experiment = client.create_experiment('vita_mm')
    for folder, tag in ((journal.folder, 'another id'), (tmp_path / 'gone', 'x')):
        client.create_run(experiment, tags={
            FOLDER_TAG: str(folder), 'vita_mm.journal': tag})
    sender_module.close_dead_runs(client, uri)
    assert journal.path.read_bytes() == before
    assert {run.info.status for run in find_runs(client)} == {'RUNNING'}


def test_a_resumed_run_waits_for_one_that_just_closes_it(client, uri, tmp_path):
    journal = make_journal(tmp_path, uri, ended=False)
    assert journal.acquire()
    threading.Timer(0.5, journal.release).start()
    backend = tracking.MLflowTracking(str(tmp_path))
    backend.start('train', resume=True)
    assert backend.journal.folder == journal.folder
    backend.close()
    assert find_runs(client)[0].info.status == 'FINISHED'


def test_the_end_waits_as_long_as_records_arrive(client, uri, tmp_path, monkeypatch,
                                                 said):
    monkeypatch.setattr(sender_module, 'TELL', 0.2)
    set_tags = Delivery._send_tags

    def slow(self, records):
        time.sleep(0.2)
        set_tags(self, records)

    monkeypatch.setattr(Delivery, '_send_tags', slow)
    journal = make_journal(tmp_path, uri)
    for number in range(10):
        journal.write('tags', values={f'tag{number}': '1'})
    sender = tracking.Sender(Delivery(journal, uri))
    sender.start()
    sender.close(patience=1.5)  # shorter than all of them take
    assert journal.is_sent() and not sender.is_alive()
    assert any('still on their way' in line for line in said)
    assert not any('have not reached' in line for line in said)


def test_the_end_gives_up_where_nothing_arrives(uri, tmp_path, monkeypatch, said):
    hanging, release = [], []

    def hang(self, records):
        hanging.append(True)
        wait_for(lambda: release)

    monkeypatch.setattr(Delivery, '_send_metrics', hang)
    journal = make_journal(tmp_path, uri)
    sender = tracking.Sender(Delivery(journal, uri))
    sender.start()
    wait_for(lambda: hanging)
    began = time.monotonic()
    sender.close(patience=1)
    assert time.monotonic() - began < 10
    assert any('4 records in' in line and 'have not reached' in line for line in said)
    release.append(True)
    sender.join()


def test_ctrl_c_leaves_the_rest_in_the_journal(uri, tmp_path, monkeypatch, said):
    journal = make_journal(tmp_path, uri)
    sender = tracking.Sender(Delivery(journal, uri))
    monkeypatch.setattr(sender, 'is_alive', lambda: True)

    def interrupt(timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(sender, 'join', interrupt)
    with pytest.raises(KeyboardInterrupt):
        sender.close()
    assert any('8 records in' in line for line in said)


# The database and its address

def record_in_child(path, uri, barrier):
    barrier.wait()
    os.environ['MLFLOW_TRACKING_URI'] = uri
    backend = tracking.MLflowTracking(str(path))
    for step in range(5):
        backend.add_scalar('loss', step, step)
    backend.close()


def test_three_starts_at_once_on_a_new_database(tmp_path, monkeypatch):
    monkeypatch.setenv('MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING', 'false')
    uri = f'sqlite:///{tmp_path}/new/mlflow.db'
    context = multiprocessing.get_context('fork')  # what is imported is there already
    barrier = context.Barrier(3)
    children = [context.Process(target=record_in_child,
                                args=(tmp_path / f'work{index}', uri, barrier))
                for index in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    client = MlflowClient(uri)
    runs = find_runs(client)
    assert [run.info.status for run in runs] == ['FINISHED'] * 3
    assert [losses(client, run) for run in runs] == [[0, 1, 2, 3, 4]] * 3
    assert not list(tmp_path.rglob('*.part'))


def test_a_set_up_that_is_killed_leaves_no_half_made_database(tmp_path, monkeypatch):
    from mlflow.store.db import utils

    def die(engine):
        raise KeyboardInterrupt

    uri = f'sqlite:///{tmp_path}/mlflow.db'
    with monkeypatch.context() as patched:
        patched.setattr(utils, '_upgrade_db', die)
        with pytest.raises(KeyboardInterrupt):
            store.open_client(uri)
    assert not (tmp_path / 'mlflow.db').exists()


def test_a_damaged_database_is_said_and_its_records_wait(uri, tmp_path, said,
                                                         empty_database):
    (tmp_path / 'mlflow.db').write_bytes(b'no database' * 1_000)
    began = time.monotonic()
    backend = tracking.MLflowTracking(str(tmp_path / 'work'))
    backend.add_scalar('loss', 1, 1)
    backend.close()
    assert time.monotonic() - began < 10
    assert 'mlflow.db cannot be read; training goes on' in said[0]
    assert 'not a database' in said[0] and 'does not answer' not in said[0]
    shutil.copyfile(empty_database, tmp_path / 'mlflow.db')
    journal, = tracking.find_journals(tmp_path / 'work')
    assert tracking.sync(journal)
    assert find_runs(MlflowClient(uri))[0].info.status == 'FINISHED'


def test_the_experiment_of_the_environment(client, uri, tmp_path, monkeypatch, said):
    number = client.create_experiment('by id')

    def record(name, **options):
        backend = tracking.MLflowTracking(str(tmp_path / name), run_name=name, **options)
        backend.start()
        backend.close()

    monkeypatch.setenv('MLFLOW_EXPERIMENT_ID', number)
    record('by id')
    record('config', experiment='of the config')
    monkeypatch.setenv('MLFLOW_EXPERIMENT_NAME', 'by name')
    record('name counts more')
    assert any(f'MLFLOW_EXPERIMENT_ID={number} is not the experiment by name' in line
               for line in said)
    monkeypatch.delenv('MLFLOW_EXPERIMENT_NAME')
    monkeypatch.setenv('MLFLOW_EXPERIMENT_ID', '999')
    record('unknown id')
    assert any('no experiment 999' in line for line in said)
    found = {experiment: [run.info.run_name for run in find_runs(client, experiment)]
             for experiment in ('by id', 'of the config', 'by name', 'vita_mm')}
    assert found == {'by id': ['by id'], 'of the config': ['config'],
                     'by name': ['name counts more'], 'vita_mm': ['unknown id']}
    monkeypatch.setenv('MLFLOW_EXPERIMENT_ID', "7' or 1")
    with pytest.raises(UserError, match='MLFLOW_EXPERIMENT_ID=.* is no id'):
        record('bad id')


@pytest.mark.parametrize('place', ['./mlruns', 'mlruns', '/data/mlruns',
                                   'file:///data/mlruns', 'file:mlruns'])
def test_a_file_store_is_refused_at_the_start(tmp_path, monkeypatch, place):
    monkeypatch.delenv('MLFLOW_ALLOW_FILE_STORE', raising=False)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', place)
    backend = tracking.MLflowTracking(str(tmp_path))
    with pytest.raises(UserError, match='is a file store.*sqlite:///mlflow.db'):
        backend.start()
    assert not (tmp_path / 'mlflow').exists()
    for fine in ('databricks', 'databricks://profile', 'http://host', 'https://host',
                 'postgresql://u@h/d'):
        assert store.resolve_uri(fine) == fine


def test_a_database_is_the_same_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store.resolve_uri('sqlite:///a.db?x=1') == f'sqlite:///{tmp_path}/a.db?x=1'


@pytest.mark.parametrize('address', [
    'http://user:swordfish@host:5000', 'postgresql://user:swordfish@host/db',
    'https://host/?access_token=swordfish'])
def test_a_password_leaves_the_config(tmp_path, monkeypatch, address):
    monkeypatch.delenv(store.SECRET_URI, raising=False)
    config = Config(dict(visualizer=dict(type='Visualizer', vis_backends=[
        dict(type='LocalVisBackend'), dict(type='MLflowTracking')])))
    override(config, {'visualizer.vis_backends.1.tracking_uri': address}, 'options')
    hidden = config.visualizer.vis_backends[1].tracking_uri
    assert 'swordfish' not in config.pretty_text and hidden
    assert store.resolve_uri(hidden) == address
    monkeypatch.delenv(store.SECRET_URI)
    assert store.resolve_uri(hidden) == hidden


# The tool

@pytest.fixture
def sync_tool(monkeypatch, capsys):
    """Function that runs the tool; gives its exit code, output and errors."""

    def run(*folders):
        capsys.readouterr()
        monkeypatch.setattr('sys.argv', ['mlflow_sync.py', *map(str, folders)])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            runpy.run_path(str(ROOT / 'tools/mlflow_sync.py'), run_name='__main__')
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, handler)
        return code, *capsys.readouterr()

    return run


def test_the_tool_sends_what_it_can(client, uri, tmp_path, sync_tool):
    make_journal(tmp_path / 'out' / 'runs' / 'a' / 'work', uri)
    make_journal(tmp_path / 'out' / 'stale' / 'b' / 'work', uri, ended=False)
    headless = make_journal(tmp_path / 'out' / 'runs' / 'c' / 'work', uri)
    _, rest = headless.path.read_bytes().split(b'\n', 1)
    headless.path.write_bytes(b'[]\n' + rest)
    (tmp_path / 'mlartifacts').write_text('')
    code, said, errors = sync_tool(tmp_path / 'out')
    assert code == 2 and re.search('4 records stay in .*out', errors)
    assert {run.info.status for run in find_runs(client)} == {'FINISHED', 'KILLED'}
    (tmp_path / 'mlartifacts').unlink()
    code, said, errors = sync_tool(tmp_path / 'out')
    assert code == 2 and 'runs/c/work' in errors and 'no header' in errors
    assert all(artifacts(run) == WHOLE for run in find_runs(client))
    shutil.rmtree(headless.folder)
    assert sync_tool(tmp_path / 'out')[0] == 0
