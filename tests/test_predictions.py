"""What runs keep of each video: whole, once, and what the numbers are the means of."""
from types import SimpleNamespace

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import numpy as np
import pytest
import torch
from vita_mm.analysis.predictions import NAME, read, save
from vita_mm.data import SplitAccMetric, VideoAccMetric
from vita_mm.engine.predictions import PredictionsHook
from vita_mm.errors import UserError
from vita_mm.harness.report.outcomes import read_outcomes

CLASSES = list('abcdefgh')


def given(number=40, seed=0, unreadable=(3, )):
    """What a model says of videos, of which every second is in both splits."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.rand((number, len(CLASSES)), generator=random)
    labels = torch.randint(len(CLASSES), (number, ), generator=random).tolist()
    for index, label in enumerate(labels):
        scores[index, label] += 0.6
    return [dict(pred_score=row, gt_label=torch.tensor([label]), video=f'/v/{index}.mp4',
                 splits=[0, 1] if index % 2 else [index % 4 // 2],
                 unreadable='why' if index in unreadable else None)
            for index, (row, label) in enumerate(zip(scores, labels))]


def evaluate(metric, samples):
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def keep(folder, metric, *sets):
    """What the hook writes of evaluations with sets of prompts, by name."""
    hook = PredictionsHook(str(folder))
    runner = SimpleNamespace(test_evaluator=SimpleNamespace(metrics=[metric]),
                             work_dir='nowhere')
    hook.before_test(runner)
    found = {}
    for name, samples in sets:
        metrics = evaluate(metric, samples)
        if name:
            hook.after_prompts(runner, name)
        found.update({f'{name}/{key}' if name else key: value
                      for key, value in metrics.items()})
    hook.after_test_epoch(runner)
    return found


@pytest.mark.parametrize('unreadable', ['miss', 'exclude'])
def test_a_number_is_the_mean_of_what_is_kept(tmp_path, unreadable):
    metric = VideoAccMetric(unreadable=unreadable)
    metrics = keep(tmp_path, metric, ('', given()))
    found, = read(tmp_path / NAME).values()
    assert found.video[3] == '/v/3.mp4' and found.classes.tolist() == CLASSES
    assert found.unreadable.nonzero()[0].tolist() == [3] and found.predicted[3] == -1
    right = found.predicted == found.label
    assert (right == (found.rank == 1)).all() and right.any() and not right.all()
    for name in ('acc/top1', 'acc/top5'):
        kept = read_outcomes(tmp_path / NAME, name)
        assert len(kept.videos) == 40 - (unreadable == 'exclude')
        assert kept.right @ kept.weights == pytest.approx(metrics[name])
    assert read_outcomes(tmp_path / NAME, 'acc/mean1') is None
    assert read_outcomes(tmp_path / NAME, 'plain/acc/top1') is None


def test_so_it_is_of_splits_and_of_sets_of_prompts(tmp_path):
    metric = SplitAccMetric(num_splits=2)
    metrics = keep(tmp_path, metric, ('plain', given()), ('many/words', given(seed=1)))
    assert len(read(tmp_path / NAME)) == 4
    for name in ('plain/acc/top1', 'plain/acc/split2_top1', 'many/words/acc/top5'):
        kept = read_outcomes(tmp_path / NAME, name)
        assert kept.right @ kept.weights == pytest.approx(metrics[name])


def test_of_candidates_it_is_what_was_chosen_among_them(tmp_path):
    samples = [sample for sample in given() if sample['gt_label'] < 4]
    metric = SplitAccMetric(num_splits=2, candidates=[CLASSES[:4], CLASSES[:6]])
    metrics = keep(tmp_path, metric, ('', samples))
    first, second = read(tmp_path / NAME).values()
    assert (first.classes.tolist(), len(second.classes)) == (CLASSES[:4], 6)
    assert first.predicted.max() < 4
    kept = read_outcomes(tmp_path / NAME, 'acc/top1')
    assert kept.right @ kept.weights == pytest.approx(metrics['acc/top1'])


def test_equal_scores_count_as_the_metric_counts_them(tmp_path):
    samples = given(30)
    for sample in samples:
        sample['pred_score'] = sample['pred_score'].mul(3).round()
    metrics = keep(tmp_path, VideoAccMetric(), ('', samples))
    for name in ('acc/top1', 'acc/top5'):
        kept = read_outcomes(tmp_path / NAME, name)
        assert kept.right @ kept.weights == pytest.approx(metrics[name])


def test_a_metric_that_keeps_none_leaves_no_file(tmp_path):
    hook = PredictionsHook(str(tmp_path))
    hook.after_test_epoch(SimpleNamespace(
        test_evaluator=SimpleNamespace(metrics=[object()]), work_dir='nowhere'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('content', [None, b'', b'no zip', b'PK\x03\x04'])
def test_a_file_that_is_none_is_said_and_has_no_outcomes(tmp_path, content):
    path = tmp_path / NAME
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match='holds no predictions: run its evaluation again'):
        read(path)
    assert read_outcomes(path, 'acc/top1') is None


def test_names_are_kept_as_they_are_and_nothing_is_unpickled(tmp_path):
    samples = given(3, unreadable=())
    names = ['with space, "and" ü.mp4', '=1+1.mp4', 'x' * 300]
    for sample, name in zip(samples, names):
        sample['video'] = name
    keep(tmp_path, VideoAccMetric(), ('', samples))
    found, = read(tmp_path / NAME).values()
    assert found.video.tolist() == names
    np.savez(tmp_path / 'bad.npz', **{'//video': np.array([object()])})
    with pytest.raises(UserError, match='holds no predictions'):
        read(tmp_path / 'bad.npz')
    save(tmp_path / 'copy.npz', {('', ''): found})
    assert read(tmp_path / 'copy.npz')['', ''].rank.tolist() == found.rank.tolist()
