"""The recipes beside the authors': every disagreement has its reason, the page is what
they say, and both sides are read rightly."""
import functools
from pathlib import Path

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import numpy as np
import pytest
import torch
from mmengine.config import Config
from timm.scheduler.cosine_lr import CosineLRScheduler
from vita_mm.analysis import recipes
from vita_mm.analysis.recipe_words import (
    ABSENT,
    evaluation,
    tell_frames,
    tell_mixing,
    training_data,
)
from vita_mm.analysis.recipes import (
    NOT_STATED,
    Schedule,
    agree,
    compare,
    points,
    read_recipes,
    read_theirs,
    rehearse,
    section,
    stale,
)
from vita_mm.cli.main import run
from vita_mm.cli.pages import marks
from vita_mm.engine.runs import load_config
from vita_mm.errors import UserError
from vita_mm.systems import SYSTEMS

ROOT = Path(__file__).parents[1]
RECIPES = read_recipes()


@functools.cache
def rows_of(config):
    return compare(RECIPES[config])


@pytest.mark.parametrize('config', RECIPES)
def test_every_disagreement_has_its_reason(config):
    rows = rows_of(config)
    assert [f'{row.key}: {row.theirs} is {row.ours} here' for row in rows
            if not row.same and not row.reason] == []
    assert stale(RECIPES[config], rows) == [], 'reasons without a disagreement'


def test_the_page_is_what_the_recipes_say():
    page = (ROOT / 'docs' / 'recipes.md').read_text(encoding='utf-8')
    begin, end = marks('recipes')
    written = page.partition(begin)[2].partition(end)[0]
    assert written == '\n'.join(
        line for config, recipe in RECIPES.items()
        for line in section(recipe, rows_of(config))
        ), 'run `vita-mm recipes --update docs/recipes.md`'


def test_every_value_of_theirs_has_its_source():
    for recipe in RECIPES.values():
        assert recipe.place and recipe.schedule.source
        for key, (value, source) in recipe.values.items():
            assert source or value == NOT_STATED, (recipe.config, key)


def test_every_system_that_is_trained_has_a_table():
    for system in SYSTEMS.values():
        assert (system.paper_config in RECIPES) == ('train' not in system.refusals)


def test_a_change_of_ours_is_a_disagreement():
    recipe = RECIPES['configs/evl/k400.py']
    config = load_config(ROOT / recipe.config)
    before = training_data(config) | evaluation(config)
    config.merge_from_dict({
        'train_dataloader.dataset.pipeline': [
            *config.train_dataloader.dataset.pipeline,
            dict(type='Flip', flip_ratio=0.25), dict(type='Blur', sigma=3)],
        'model.data_preprocessor.mean': [1., 2., 3.], 'test_dataloader.drop_last': True})
    after = training_data(config) | evaluation(config)
    assert {key: after[key] for key in after if after[key] != before[key]} == {
        'flip': '0.25', 'other training steps': 'Blur: sigma 3',
        'training order': f'{before["training order"]}, flip, other training steps',
        'mean': '1.000, 2.000, 3.000', 'left over in evaluation': 'dropped'}


def test_an_unknown_key_is_refused():
    with pytest.raises(UserError, match=r"recipes.yaml: there is no key 'colour'"):
        recipes.place('colour')


def test_rates_agree_to_within_a_step_of_a_warm_up():
    assert agree((0., 50., 100.), (0.02, 49.99, 100.))
    assert not agree((0., 50., 100.), (0., 50.1, 100.))
    assert not agree((0., 50.), (0., 50., 100.))
    assert not agree((0., 50.), ABSENT)
    assert agree('8', '8') and not agree('8', '16')


def schedule(kind, **options):
    return Schedule(**{'kind': kind, 'rates': [1e-3], 'gpus': 1, 'clips': 8000,
                       'accumulation': 1, 'source': 'here', **options})


def test_timm_cosine_is_that_of_timm():
    theirs = schedule('timm cosine', epochs=4, warmup=1, least=1e-5, accumulation=3)
    assert theirs.rounds == 30 and theirs.length == 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1e-3)
    timm = CosineLRScheduler(optimizer, t_initial=4 * 30, lr_min=1e-5, warmup_lr_init=0,
                             warmup_t=30, cycle_limit=1, t_in_epochs=False)
    found = []
    for done in range(120):
        if (done + 1) % 3 == 0:  # a step, behind which the rate is set
            found.append(optimizer.param_groups[0]['lr'])
            timm.step_update(done)
    assert np.allclose([theirs.rate(step, 1e-3) for step in range(40)], found, atol=1e-12)


@pytest.mark.parametrize('kind, options, build, at', [
    ('torch cosine', dict(steps=40),
     lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40),
     None),
    ('torch restarts', dict(steps=40, period=80, least=1e-5),
     lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
         optimizer, T_0=80, eta_min=1e-5), 'the step done')])
@pytest.mark.filterwarnings('ignore')
def test_cosines_are_those_of_torch(kind, options, build, at):
    theirs = schedule(kind, **options)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=1e-3)
    scheduler, found = build(optimizer), []
    for step in range(40):
        found.append(optimizer.param_groups[0]['lr'])
        scheduler.step(*(step, ) if at else ())
    assert np.allclose([theirs.rate(step, 1e-3) for step in range(40)], found, atol=1e-12)


def test_the_cosine_of_actionclip_is_set_at_each_tenth_step():
    theirs = schedule('actionclip cosine', epochs=4, warmup=1)  # 30 steps each
    found = [theirs.rate(step, 1e-3) for step in range(120)]
    assert found[:9] == [0.] * 9 and found[9] == pytest.approx(1e-3 * 9 / 30)
    assert found[18] == found[9] and found[30] == pytest.approx(1e-3)
    half = 1 + np.cos(np.pi * (1 + 19 / 30) / 3)
    assert found[2 * 30 + 19] == pytest.approx(1e-3 * half / 2)


def test_ours_are_the_rates_of_the_schedules():
    config = Config(dict(
        train_cfg=dict(max_epochs=4), param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
            dict(type='CosineAnnealingLR', T_max=3, begin=1, end=4, eta_min=0.,
                 convert_to_iter_based=True)]))
    # An epoch of 20 batches, two of them a step.
    trace = rehearse(config, [1e-3, 1e-2], rounds=20, accumulation=2, total=40)
    assert trace.shape == (40, 2) and np.allclose(trace[:, 1], 10 * trace[:, 0])
    assert trace[0, 0] == pytest.approx(1e-4) and trace[10, 0] == pytest.approx(1e-3)
    assert trace[25, 0] == pytest.approx(5e-4)  # half the way of 30 steps of the cosine


def test_ten_steps_from_the_first_to_the_last():
    assert points(91) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    recipe = RECIPES['configs/xclip/k400.py']
    assert recipe.schedule.length == 30 * 939  # 240,436 videos in steps of 256
    found = read_theirs(recipe, points(recipe.schedule.length))
    assert found['rates from 8e-06, %'][0][-1] == pytest.approx(1)
    assert found['rates from 8e-05, %'][0][-1] == pytest.approx(
        0.1, abs=1e-5)  # the same 8e-8


@pytest.mark.parametrize('step, words', [
    (dict(type='SampleFrames', clip_len=8, frame_interval=16),
     '8 at stride 16, anywhere that has 128 frames'),
    (dict(type='TightSampleFrames', clip_len=8, frame_interval=16),
     '8 at stride 16, anywhere that has 113 frames'),
    (dict(type='SampleFrames', clip_len=8, frame_interval=16, test_mode=True),
     '8 at stride 16'),
    (dict(type='UniformSample', clip_len=8),
     '8, one drawn of each part, as MMAction2 cuts them'),
    (dict(type='Another', clip_len=8, every=2), 'Another: clip_len 8, every 2')])
def test_sampling_in_words(step, words):
    assert tell_frames(step) == words


def test_mixing_in_words():
    augments = [dict(type='MixupBlending', alpha=0.8),
                dict(type='CutmixBlending', alpha=1)]
    assert tell_mixing(dict(augments=augments)) == 'mixup 0.8 or cutmix 1, as likely'
    assert tell_mixing(dict(augments=augments, probs=[0.3, 0.2])) == (
        'mixup 0.8 or cutmix 1 (0.3, 0.2)')
    assert tell_mixing(augments[0]) == 'mixup 0.8'
    assert tell_mixing(None) == ABSENT


def test_tables_of_some_systems(capsys):
    assert run('recipes', ['evl']) == 0
    out = capsys.readouterr().out
    assert out.count('## ') == 1 and '## EVL, 8 frames' in out
    for names, words in ((['frozen_clip'], 'frozen CLIP has no recipe: nothing of it is'),
                         (['swin'], "there is no system 'swin'")):
        with pytest.raises(SystemExit) as stopped:
            run('recipes', names)
        assert stopped.value.code == 2 and words in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run('recipes', ['evl', '--update', 'docs/recipes.md'])
    assert stopped.value.code == 2 and 'name none' in capsys.readouterr().err
