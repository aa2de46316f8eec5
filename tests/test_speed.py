"""The speed benchmark: its opponent computes the same, its figures agree."""
import json
import os
import statistics
import sys

import pytest
import torch
from conftest import random_video, tiny_clip_config
from torch.nn import functional as F
from vita_mm.errors import UserError
from vita_mm.models.common import layers
from vita_mm.models.vita_clip.checkpoints import join_layers, to_released, trained_matches
from world import ROOT, run

sys.path.insert(0, str(ROOT / 'benchmarks'))
import speed  # noqa: E402
import speed_measure  # noqa: E402
import speed_run  # noqa: E402
from baseline_model import Baseline, baseline_step  # noqa: E402

ARCH = tiny_clip_config(quick_gelu=True)
LABELS = torch.tensor([0, 2, 1, 1])


def in_released_names(gradients):
    layers = ARCH['vision_cfg']['layers']
    return join_layers(to_released(gradients, trained_matches(layers)), layers)


# The written-out opponent


@pytest.mark.parametrize('context', ['csc', 'uc'])
@pytest.mark.parametrize('frozen', [False, True])
def test_baseline_computes_what_our_model_computes(build_model, context, frozen):
    model = build_model(dict(freeze_summary_proj=frozen), dict(context=context), ARCH)
    baseline = Baseline(model)
    video = random_video(clips=4)
    ours, theirs = model(video, mode='tensor', stage='head'), baseline(video[:, 0])
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)
    for logits in ours, theirs:
        F.cross_entropy(logits, LABELS).backward()
    expected = in_released_names({
        name: weight.grad for name, weight in model.named_parameters()
        if weight.grad is not None})
    given = {name: weight.grad for name, weight in baseline.named_parameters()
             if weight.grad is not None}
    assert given.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (given[name] - gradient).norm()
        assert error <= 1e-9 * gradient.norm() + 1e-12, name


def test_micro_batches_of_the_baseline_add_up(build_model):
    video = random_video(clips=4)[:, 0]
    results = []
    for micro_batches in (1, 2):
        baseline = Baseline(build_model(arch=ARCH))
        optimizer = torch.optim.SGD(baseline.parameters(), lr=1.)
        baseline_step(baseline, optimizer, video, LABELS, micro_batches)
        results.append(baseline.prompt_learner.ctx)
    assert torch.allclose(*results, rtol=0, atol=1e-12)


# Measuring


def test_pairs_are_interleaved_after_a_warm_up_of_ours():
    calls = []
    pairs = list(speed_measure.interleave(lambda: calls.append('ours'),
                                          lambda: calls.append('opponent'), 2))
    assert calls == ['ours', *['ours', 'opponent'] * 2]
    assert len(pairs) == 2
    assert all(took[clock] >= 0 for pair in pairs for took in pair
               for clock in ('cpu', 'wall'))


def test_the_ratio_is_the_median_of_the_pairs():
    # Not the ratio of the medians, 1.5: the machine may be slower during one pair.
    found = speed_measure.summarize([1., 10., 2.], [3., 20., 3.])
    assert found == dict(ratio=2., low=1.5, high=3., ours=2., opponent=3.)
    assert speed_measure.summarize([1.], [4.], least=False)['ratio'] == 0.25


def test_operations_of_layers_are_counted():
    x = torch.randn(2, 300, 64, requires_grad=True)
    weight, q = torch.randn(96, 64), torch.randn(2, 3, 300, 64)
    assert speed_measure.count_flops(
        lambda: layers.linear(x, weight).sum().backward()) == 2 * 2 * 600 * 64 * 96
    assert speed_measure.count_flops(
        lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * 2 * 6 * 300**2 * 64


def test_peak_memory_is_that_of_the_call():
    size = 100 * 2**20
    found = speed_measure.peak_memory(lambda: torch.ones(size // 4).sum())
    assert size * 0.9 < found < size * 1.3


@pytest.mark.slow
def test_a_killed_measurement_is_one_sentence():
    with pytest.raises(UserError, match='was killed'):
        speed_measure.in_new_process(os._exit, 1)


# The command


def call_speed(folder, *args):
    """speed.py on a tiny CLIP: what it printed, and the rows of its JSON file."""
    arch = folder / 'arch.json'
    arch.write_text(json.dumps(ARCH))
    done = run(ROOT / 'benchmarks/speed.py', '--arch', arch, '--classes', 5, '--out',
               folder / 'out', *args, cwd=folder)
    assert done.returncode == 0, done.stdout
    (found, ) = json.loads((folder / 'out/speed.json').read_text())
    assert found['stamp']['classes'] == 5
    return done.stdout, found['rows']


@pytest.mark.slow
def test_table_and_json_say_the_same_and_grow(tmp_path):
    _, before = call_speed(tmp_path, '--only', 'eval', '--pairs', 2)
    printed, rows = call_speed(
        tmp_path, '--only', 'eval', 'step', 'matmul', '--pairs', 3)
    page = (tmp_path / 'out/speed.md').read_text()
    compared = [row for row in rows if 'ratios' in row]
    assert [row['part'] for row in compared] == [
        part for part in ('eval', 'step', 'matmul') for _ in range(2)]
    for kept, row in zip(before, compared):
        assert row['ours']['cpu'][:2] == kept['ours']['cpu']  # not measured again
    for row in compared:
        ours, theirs = row['ours']['cpu'], row['opponent_took']['cpu']
        assert len(ours) == len(theirs) == (1 if 'micro-batches' in row['what'] else 3)
        ratios = [other / own for own, other in zip(ours, theirs)]
        middle = statistics.median(ratios)
        assert row['ratios']['cpu']['ratio'] == middle
        if 'target' in row:
            assert row['reached'] == (middle >= float(row['target'].split()[1]))
        assert f'| {middle:.2f} | {min(ratios):.2f}-{max(ratios):.2f} |' in page
        assert f'{middle:.2f}' in printed
    assert [row.get('target') for row in compared] == [
        '≥ 15', None, '≥ 4.5', '≥ 6.5', '≥ 0.9', None]


@pytest.mark.parametrize('options, sentence', [
    (['--only', 'steps'], "there is no part 'steps'"),
    (['--pairs', '0'], '--pairs is at least 1'),
    (['--threads', '0'], '--threads is at least 1'),
    (['--classes', '401'], '--classes is from 5 to 400'),
    (['--arch', 'ViT-B-16'], 'has QuickGELU only'),
    (['--released', 'nowhere'], 'nowhere is no checkout of the released code'),
], ids=str)
def test_bad_options_are_one_sentence(monkeypatch, options, sentence):
    monkeypatch.setattr(sys, 'argv', ['speed.py', *options])
    with pytest.raises(UserError, match=sentence):
        speed_run.run(speed.parse_args())


def test_help_names_all_parts():
    assert speed.PARTS == tuple(speed_run.PARTS)
