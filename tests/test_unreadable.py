"""Videos that cannot be read: replaced in training, counted in evaluation."""
import json

import numpy as np
import pytest
import torch
from vita_mm.data import ClipDataset, SplitAccMetric, VideoAccMetric
from vita_mm.data.dataset import SampleKey
from vita_mm.errors import UserError
from world import CLASSES, run, run_pair, write_video, write_world

PIPELINE = [dict(type='OpenVideo'),
            dict(type='SampleFrames', clip_len=4, frame_interval=2),
            dict(type='DecodeFrames'),
            dict(type='RandomResizedCrop'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')]


@pytest.fixture
def videos(tmp_path):
    """Six videos, of which 1.mp4 is broken and 2.mp4 missing; three lists."""
    for index in range(6):
        write_video(tmp_path / f'{index}.mp4', 20, colour=index % 3)
    (tmp_path / '1.mp4').write_text('no video')
    (tmp_path / '2.mp4').unlink()
    for name, chosen in (('all', range(6)), ('a', (0, 1, 3)), ('b', (3, 4))):
        (tmp_path / f'{name}.txt').write_text(
            ''.join(f'{index}.mp4 {index % 3}\n' for index in chosen))
    return tmp_path


def dataset(folder, *lists, **options):
    files = [str(folder / f'{name}.txt') for name in lists]
    return ClipDataset(files[0] if len(files) == 1 else files, PIPELINE, classes=CLASSES,
                       data_prefix=dict(video=str(folder)), **options)


def test_in_training_another_sample_stands_in_the_same_at_each_run(videos):
    data = dataset(videos, 'all')
    key = SampleKey(index=1, epoch=2, seed=3)
    first, again = data[key], data[key]
    assert torch.equal(first['inputs'], again['inputs'])
    sample = first['data_samples']
    assert 'the video' in sample.stands_in
    assert '1.mp4 cannot be decoded' in sample.stands_in
    others = {data[key._replace(epoch=epoch)]['inputs'].numpy().tobytes()
              for epoch in range(8)}
    assert len(others) > 3  # another one in another epoch
    labels = {data[key._replace(epoch=epoch)]['data_samples'].gt_label.item()
              for epoch in range(8)}
    assert len(labels) > 1  # with its own label
    assert data[key._replace(index=0)]['data_samples'].stands_in is None


def test_in_evaluation_the_sample_keeps_its_label_and_says_so(videos):
    data = dataset(videos, 'all', test_mode=True)
    broken, missing, whole = (data[index]['data_samples'] for index in (1, 2, 3))
    assert '1.mp4 cannot be decoded' in broken.unreadable and broken.gt_label.item() == 1
    assert '2.mp4 does not exist' in missing.unreadable and missing.gt_label.item() == 2
    assert whole.unreadable is None
    assert broken.video.endswith('1.mp4') and whole.video.endswith('3.mp4')


def test_the_union_of_lists_has_each_video_once_and_knows_its_lists(videos):
    data = dataset(videos, 'a', 'b', test_mode=True)
    names = [data.get_data_info(index)['filename'].rsplit('/')[-1]
             for index in range(len(data))]
    assert names == ['0.mp4', '1.mp4', '3.mp4', '4.mp4']
    assert [data[index]['data_samples'].splits for index in range(4)] == [
        [0], [0], [0, 1], [1]]


def test_lists_that_disagree_on_a_label_are_refused(videos):
    (videos / 'b.txt').write_text('3.mp4 1\n')
    with pytest.raises(UserError,
                       match='b.txt, line 1: .*3.mp4 has the label 1 here and 0'):
        dataset(videos, 'a', 'b')


def results(*rows, classes=4):
    """What a model says: (right class, said class, splits, unreadable)."""
    for label, said, splits, unreadable in rows:
        scores = torch.zeros(classes)
        scores[said] = 1
        yield dict(pred_score=scores, gt_label=torch.tensor([label]), splits=splits,
                   unreadable='why' if unreadable else None)


ROWS = [(0, 0, [0], False), (1, 1, [0, 1], False), (2, 1, [1], False),
        (3, 3, [0, 1], True)]


@pytest.mark.parametrize('unreadable, top1', [('miss', 2 / 4), ('exclude', 2 / 3)])
def test_an_unreadable_video_is_a_miss_or_left_out_and_counted(unreadable, top1):
    metric = VideoAccMetric(unreadable=unreadable)
    metric.process(None, list(results(*ROWS)))
    found = metric.evaluate(4)
    assert found['acc/top1'] == pytest.approx(top1)
    assert (found['acc/videos_read'], found['acc/videos_unreadable']) == (3, 1)


def test_the_log_names_each_unreadable_video_once(monkeypatch):
    said = []
    monkeypatch.setattr('vita_mm.data.metrics.print_log',
                        lambda text, *_: said.append(text))
    metric = SplitAccMetric(num_splits=2)
    for _ in range(2):  # as each epoch and each set of prompts does
        given = list(results(*ROWS))
        given[3]['unreadable'] = 'the video a\x1b[2J.mp4 cannot be decoded'
        metric.process(None, given)
        assert metric.evaluate(4)['acc/videos_unreadable'] == 1
    assert said == ['1 videos could not be read:\n'
                    'the video a\\x1b[2J.mp4 cannot be decoded']


def test_splits_have_their_own_accuracy_counts_mean_and_deviation():
    metric = SplitAccMetric(num_splits=2)
    metric.process(None, list(results(*ROWS)))
    found = metric.evaluate(4)
    assert found['acc/split1_top1'] == pytest.approx(2 / 3)
    assert found['acc/split2_top1'] == pytest.approx(1 / 3)
    assert found['acc/top1'] == pytest.approx(1 / 2)
    assert found['acc/top1_std'] == pytest.approx(1 / 6)
    assert (found['acc/split1_videos_read'], found['acc/split1_videos_unreadable'],
            found['acc/videos_read'], found['acc/videos_unreadable']) == (2, 1, 3, 1)


def test_a_split_chooses_among_its_candidates_only():
    metric = SplitAccMetric(num_splits=1, candidates=[['c', 'a']])
    metric.dataset_meta = dict(classes=['a', 'b', 'c', 'd'])
    sample, = results((2, 1, [0], False))
    sample['pred_score'] = torch.tensor([.1, .6, .2, .1])
    metric.process(None, [sample])
    assert metric.evaluate(1)['acc/top1'] == 1
    sample, = results((3, 3, [0], False))
    metric.process(None, [sample])
    with pytest.raises(UserError, match="'d' is the class of a video"):
        metric.evaluate(1)


@pytest.mark.parametrize('metric', [VideoAccMetric(), SplitAccMetric(num_splits=2)])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_scores_that_are_no_numbers_become_no_accuracy(metric, value):
    given = list(results(*ROWS))
    given[1]['pred_score'][2] = value
    with pytest.raises(UserError, match='scores of the video 2 are not finite'):
        metric.process(None, given)
    given[1]['video'] = 'videos/b.mp4'
    with pytest.raises(UserError, match='scores of the video videos/b.mp4 are not'):
        metric.process(None, given)


@pytest.mark.parametrize('options, sentence', [
    (dict(unreadable='ignore'), "'miss' or 'exclude'"),
    (dict(num_splits=2, candidates=[['a']]), '2 splits but candidates for 1')])
def test_bad_options_of_a_metric_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        SplitAccMetric(**options)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A world in which one video of each part is broken."""
    config = write_world(tmp_path_factory.mktemp('world'), num_train=8, num_val=6)
    for path in ('train/3.mp4', 'val/2.mp4'):
        (config.parent / path).write_text('no video')
    return config


def scalars(work_dir):
    log = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize('processes', [
    pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_names_and_counts_them(config, processes):
    folder = config.parent
    work_dir = folder / f'work{processes}'
    done = (run, run_pair)[processes - 1](
        'tools/train.py', config, '--work-dir', work_dir, '--cfg-options',
        'train_cfg.max_epochs=2', f'train_dataloader.batch_size={8 // processes}',
        cwd=folder)
    assert done.returncode == 0, done.stdout
    for epoch in (1, 2):
        assert f'epoch {epoch}: 1 of 8 training videos were replaced' in done.stdout
    assert 'train/3.mp4 cannot be decoded' in done.stdout
    rows = scalars(work_dir)
    assert [row['data/substituted'] for row in rows
            if 'data/substituted' in row] == [1, 1]
    validation = [row for row in rows if 'acc/top1' in row][-1]
    assert validation['acc/videos_read'] == 5
    assert validation['acc/videos_unreadable'] == 1
    assert np.isclose(validation['acc/top1'] * 6, round(validation['acc/top1'] * 6))
