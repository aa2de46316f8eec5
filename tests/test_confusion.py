"""Per-class accuracy and confusion: right counts, readable files, in every run."""
import csv
import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Payload
from matplotlib.text import Text
from mlflow import MlflowClient
from vita_mm.analysis.attention_pictures import draw_frames
from vita_mm.analysis.confusion import Confusion, draw
from vita_mm.cli.main import run
from vita_mm.data import SplitAccMetric, VideoAccMetric
from vita_mm.engine.runs import build_runner, load_config, override
from vita_mm.engine.runs import evaluate as evaluate_config
from vita_mm.io.files import safe_cell
from vita_mm.tracking import guard
from world import CLASSES, write_world
from world import run as start

FILES = ['confused_pairs.csv', 'confusion.csv', 'confusion.png', 'per_class.csv']


def read(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def samples(scores, labels, unreadable=()):
    return [dict(pred_score=torch.as_tensor(row), gt_label=torch.tensor([label]),
                 splits=[index % 2], unreadable='why' if index in unreadable else None)
            for index, (row, label) in enumerate(zip(scores, labels))]


def evaluate(metric, given):
    metric.process(None, given)
    return metric.evaluate(len(given))


def test_tables_say_what_was_taken_for_what(tmp_path):
    classes = ['bow', 'run', 'sit, "down"', 'eat', 'fly', 'wave']
    # Class and what it is taken for; of 'fly' there is no video.
    pairs = [(0, 0), (0, 1), (0, 1), (0, 2), (1, 1), (2, 0), (3, 3), (5, 4), (5, 5)]
    labels, said = zip(*pairs)
    metric = VideoAccMetric()
    metric.dataset_meta = dict(classes=classes)
    evaluate(metric, samples(torch.eye(6)[list(said)], labels, unreadable=[6]))
    confusion, = metric.take_confusions().values()
    assert metric.take_confusions() == {}
    files = confusion.save(tmp_path / 'new' / 'folder', 'title')
    assert sorted(file.name for file in files) == FILES
    folder = files[0].parent

    rows = {row[0]: row[1:4] + row[5:] for row in read(folder / 'per_class.csv')}
    assert rows == {
        'class': ['videos', 'unreadable', 'top1', 'mistaken_for'],
        'bow': ['4', '0', '0.25', 'run'], 'run': ['1', '0', '1', ''],
        'sit, "down"': ['1', '0', '0', 'bow'], 'eat': ['1', '1', '0', ''],
        'fly': ['0', '0', '', ''], 'wave': ['2', '0', '0.5', 'fly']}
    matrix = read(folder / 'confusion.csv')
    assert matrix[0] == ['class', *classes]
    assert matrix[1:3] == [['bow', '1', '2', '1', '0', '0', '0'],
                           ['run', '0', '1', '0', '0', '0', '0']]
    assert matrix[4] == ['eat'] + 6 * ['0']  # unreadable: taken for none
    assert read(folder / 'confused_pairs.csv') == [
        ['true', 'predicted', 'mistaken', 'videos', 'share'],
        ['bow', 'run', '2', '4', '0.5'], ['sit, "down"', 'bow', '1', '1', '1'],
        ['wave', 'fly', '1', '2', '0.5'], ['bow', 'sit, "down"', '1', '4', '0.25']]


@pytest.mark.parametrize('unreadable', ['miss', 'exclude'])
def test_counts_agree_with_the_accuracies_of_each_split(unreadable):
    generator = np.random.default_rng(0)
    labels = generator.integers(9, size=200)
    scores = generator.integers(6, size=(200, 9)).astype(np.float32)  # many are equal
    metric = SplitAccMetric(num_splits=2, unreadable=unreadable)
    found = evaluate(metric, samples(scores, labels, unreadable=range(0, 200, 9)))
    confusions = metric.take_confusions()
    assert list(confusions) == ['split1', 'split2']
    for split, confusion in confusions.items():
        videos = confusion.videos.sum()
        assert np.diag(confusion.matrix).sum() / videos == found[f'acc/{split}_top1']
        assert confusion.top5.sum() / videos == found[f'acc/{split}_top5']
        assert confusion.per_class.unreadable.sum() == (
            found[f'acc/{split}_videos_unreadable'] if unreadable == 'miss' else 0)


def test_a_split_has_the_confusion_of_its_candidates():
    metric = SplitAccMetric(num_splits=2, candidates=[['c', 'a'], ['b', 'd']])
    metric.dataset_meta = dict(classes=['a', 'b', 'c', 'd'])
    evaluate(metric, samples(torch.tensor([[.3, .6, .1, 0], [.1, .2, .7, 0]]), [2, 1]))
    first, second = metric.take_confusions().values()
    assert first.classes == ['c', 'a'] and first.matrix.tolist() == [[0, 1], [0, 0]]
    assert second.classes == ['b', 'd'] and second.matrix.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize('classes', [1, 3, 60, 400])
@pytest.mark.parametrize('right', [True, False])
def test_a_picture_has_room_for_any_number_of_classes(tmp_path, classes, right):
    """Some without a video, names long or with dollars, nothing right or all."""
    labels = np.arange(0, classes, 2).repeat(3)
    scores = np.eye(classes)[labels if right else (labels + 1) % classes]
    names = [f'{index} $_{{$ ' + 'very ' * index + 'long' for index in range(classes)]
    confusion = Confusion.of(scores, labels, np.ones(len(labels), bool), names)
    confusion.save(tmp_path, 'run $x_{$ of $5')
    height, width, _ = cv2.imread(str(tmp_path / 'confusion.png')).shape
    assert height >= 2 * classes and 1000 < height < width < 3000


@pytest.mark.parametrize('title', ['$x_{$', '$5 to $6', r'$\alpha$', 'a\nb$c$d'])
def test_a_dollar_in_a_picture_is_a_dollar(title, tmp_path):
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    draw_frames(frames, [], title, tmp_path / 'frames.png')
    confusion = Confusion.of(np.eye(2), np.arange(2), np.ones(2, bool), ['a', title])
    figure = draw(confusion, title)
    texts = [text for text in figure.findobj(Text) if title in str(text.get_text())
             .replace(r'\$', '$')]
    assert len(texts) > 1
    for text in texts:
        _, is_formula = text._preprocess_math(text.get_text())
        assert is_formula is False
    confusion.save(tmp_path, title)


def test_names_are_no_formulas_of_a_spreadsheet(tmp_path):
    names = ['=cmd|"/c calc"!A1', '+1+1', '-2+3', '@SUM(A1)', '\t=1', '\r=1', '-1.5',
             '+7', 'a=b', 'plain']
    scores = np.roll(np.eye(10), 1, axis=1)  # each is taken for the next
    confusion = Confusion.of(scores, np.arange(10), np.ones(10, bool), names)
    for file in confusion.save(tmp_path, 'title')[:3]:
        for row in read(file):
            for cell in row:
                assert not cell.startswith(('=', '@', '\t', '\r')), file
                assert not cell.startswith(('+', '-')) or float(cell), file
    safe = [f"'{name}".replace('\r', ' ') for name in names[:6]] + names[6:]
    assert [row[0] for row in read(tmp_path / 'per_class.csv')[1:]] == safe
    assert read(tmp_path / 'confusion.csv')[0] == ['class', *safe]
    assert {row[1] for row in read(tmp_path / 'confused_pairs.csv')[1:]} == set(safe)
    assert safe_cell(-1.5) == -1.5 and safe_cell(None) is None


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), num_train=8)


def tracked(database, work_dir):
    """The MLflow run of an evaluation, with its artifacts by path from ``confusion``,
    which are the files that it left."""
    client = MlflowClient(database)
    experiment = client.get_experiment_by_name('vita_mm')
    found, = client.search_runs([experiment.experiment_id])
    artifacts = Path(found.info.artifact_uri) / 'confusion'
    folder, = work_dir.glob('*/confusion')
    files = {path.relative_to(artifacts).as_posix(): path
             for path in artifacts.rglob('*.*')}
    assert files.keys() == {path.relative_to(folder).as_posix()
                            for path in folder.rglob('*.*')}
    for name, path in files.items():
        assert path.read_bytes() == (folder / name).read_bytes()
    return found, files


def accuracy(path):
    """Top-1 of all videos, and their number."""
    rows = [row[1:] for row in read(path)[1:]]
    count = sum(int(row[0]) for row in rows)
    return sum(int(row[0]) * float(row[2]) for row in rows if row[2]) / count, count


@pytest.fixture
def database(tmp_path, monkeypatch):
    found = f'sqlite:///{tmp_path}/mlflow.db'
    monkeypatch.setenv('MLFLOW_TRACKING_URI', found)
    return found


def test_a_training_leaves_the_confusion_of_its_last_validation(config, tmp_path,
                                                                database):
    loaded = load_config(config)
    override(loaded, {'train_cfg.max_epochs': 2}, 'options')
    loaded.work_dir = str(tmp_path / 'train')
    loaded.launcher = 'none'
    runner = build_runner(loaded)
    with guard(runner):
        runner.train()
    found, files = tracked(database, tmp_path / 'train')
    assert sorted(files) == FILES
    top1, count = accuracy(files['per_class.csv'])
    assert count == 9
    assert top1 == pytest.approx(found.data.metrics['acc/top1'], abs=1e-5)
    assert read(files['confusion.csv'])[0] == ['class', *CLASSES]


@pytest.mark.slow
def test_two_processes_count_each_video_once(config, tmp_path, database):
    done = start('tools/dist_test.sh', config, 'none', 2, '--work-dir',
                 tmp_path / 'test', cwd=config.parent)
    assert done.returncode == 0, done.stdout
    found, files = tracked(database, tmp_path / 'test')
    assert sorted(files) == FILES
    assert accuracy(files['per_class.csv']) == (
        pytest.approx(found.data.metrics['acc/top1'], abs=1e-5), 9)


@pytest.mark.slow
def test_each_set_of_prompts_has_its_own(config, tmp_path, database, capfd):
    lists = [str(config.parent / 'val.txt')] * 2
    zero_shot = tmp_path / 'zero_shot.py'
    zero_shot.write_text(f'''
_base_ = '{config}'
model = dict(cls_head=dict(context='none'))
test_dataloader = dict(dataset=dict(ann_file={lists}))
test_evaluator = dict(_delete_=True, type='SplitAccMetric', num_splits=2)
test_cfg = dict(_delete_=True, type='ZeroShotLoop', prompts=dict(
    name='{{}}', bare='{{}} !'))
''')
    places = [f'{prompts}/{split}' for prompts in ('bare', 'name')
              for split in ('split1', 'split2')]
    assert run('confusion', [str(zero_shot), 'none', '--work-dir', str(tmp_path / 'zero'),
                             '--out', str(tmp_path / 'out')]) == 0
    found, files = tracked(database, tmp_path / 'zero')
    assert sorted(files) == [f'{place}/{name}' for place in places for name in FILES]
    output = capfd.readouterr().out
    for prompts in ('bare', 'name'):
        assert accuracy(files[f'{prompts}/split2/per_class.csv']) == (pytest.approx(
            found.data.metrics[f'{prompts}/acc/split2_top1'], abs=1e-5), 9)
        assert f'{prompts} split2 top-1' in output
    for name, path in files.items():
        copy = tmp_path / 'out' / name
        assert copy.is_file() and (copy.suffix == '.png'
                                   or copy.read_bytes() == path.read_bytes())


def test_it_counts_what_an_evaluation_has_left(config, tmp_path, database, capfd):
    """Counted from a dump and from tables it is what the evaluation counted."""
    dump = tmp_path / 'predictions.pkl'
    loaded = load_config(config)
    loaded.work_dir = str(tmp_path / 'work')
    loaded.launcher = 'none'
    loaded.test_evaluator = [loaded.test_evaluator,
                             dict(type='DumpResults', out_file_path=str(dump))]
    evaluate_config(loaded, None)
    assert run('confusion', [str(config), str(dump)]) == 0
    assert run('confusion', [str(tmp_path / 'work'), '--out', str(tmp_path / 'out')]) == 0
    left, = (tmp_path / 'work').glob('*/confusion')
    assert f'tables and pictures: {tmp_path}/predictions' in capfd.readouterr().out
    for folder in (tmp_path / 'predictions', tmp_path / 'out'):
        assert sorted(path.name for path in folder.iterdir()) == FILES
        for name in ('per_class.csv', 'confusion.csv', 'confused_pairs.csv'):
            assert (folder / name).read_bytes() == (left / name).read_bytes()


def refused(sentence, arguments, capfd):
    with pytest.raises(SystemExit) as ended:
        run('confusion', list(map(str, arguments)))
    assert ended.value.code == 2
    assert sentence in capfd.readouterr().err


def test_what_it_cannot_count_is_refused(config, tmp_path, capfd):
    dump = tmp_path / 'predictions.pkl'
    refused('holds no confusion of an evaluation', [tmp_path], capfd)
    refused('cannot read', [config, dump], capfd)
    seen = tmp_path / 'seen'
    dump.write_bytes(pickle.dumps([Payload(seen)]))
    refused('it names pathlib', [config, dump], capfd)
    assert not seen.exists()
    storage = io.BytesIO()
    torch.save(Payload(seen), storage)
    dump.write_bytes(pickle.dumps(Storage(storage.getvalue())))
    refused('is no dump of predictions', [config, dump], capfd)
    assert not seen.exists()
    for content, sentence in (
            ([], 'holds no predictions'),
            ([dict(pred_score=[1], gt_label=[0])], 'holds no predictions'),
            (samples(torch.eye(4), range(4)), 'of other classes than the 3'),
            (samples(torch.eye(3), [0, 1, 3]), 'of other classes than the 3')):
        dump.write_bytes(pickle.dumps(content))
        refused(sentence, [config, dump], capfd)
    Confusion.of(np.eye(2), np.arange(2), np.ones(2, bool)).save(tmp_path, 'title')
    (tmp_path / 'per_class.csv').write_text('class,videos,top5\n0,1,1\n')
    refused('the tables do not fit each other', [tmp_path], capfd)


class Storage:
    """Pickles as torch pickles a storage."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content, )
