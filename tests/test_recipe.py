"""A work dir holds one recipe: what another training left there is neither resumed nor
lost."""
import argparse

import pytest
import torch
from mmengine.config import Config
from vita_mm.engine.recipe import make_recipe, prepare_work_dir, read_values
from vita_mm.engine.runs import clips_per_step, default_work_dir, read_config, scale_rate
from vita_mm.errors import UserError
from vita_mm.io.files import lock, read_json
from yapf.yapflib.yapf_api import FormatCode
from world import ROOT

PAPER, RELEASED = 'configs/vita_k400.py', 'configs/released/vita_k400.py'


def read(name=PAPER, work_dir='work', **options):
    return read_config(argparse.Namespace(
        config=str(ROOT / name), cfg_options=options, launcher='none',
        work_dir=str(work_dir)))


def save(folder, epoch, config=None, name='epoch_{}.pth'):
    """A checkpoint as MMEngine writes it, as far as a recipe is concerned."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = dict(epoch=epoch, iter=10 * epoch)
    if config is not None:
        meta['cfg'] = config.pretty_text
    torch.save(dict(meta=meta, state_dict={}, optimizer={}),
               folder / name.format(epoch))
    (folder / 'last_checkpoint').write_text(name.format(epoch))
    return folder / name.format(epoch)


def enter(config, resume=None, changed=()):
    """Begin a training and end it at once; returns the notes."""
    lock, notes = prepare_work_dir(config, resume and str(resume), changed)
    lock.close()
    return notes


@pytest.fixture
def trained(tmp_path):
    """A work dir in which two epochs of the paper's recipe were trained."""
    assert enter(read(work_dir=tmp_path / 'work')) == []
    for epoch in (1, 2):
        save(tmp_path / 'work', epoch)
    save(tmp_path / 'work', 2, name='best_acc_top1_epoch_{}.pth')
    return tmp_path / 'work'


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def test_default_work_dirs_are_distinct(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [path for path in (ROOT / 'configs').rglob('*.py')]
    for name in ('mine.py', 'a/my.py', 'b/my.py', 'configs/mine.py', 'vita_mini.py',
                 'configs/vita_mini.py', 'configs/released/new.py'):
        paths.append(tmp_path / 'here' / name)
        paths.append(tmp_path / 'elsewhere' / name)
    for path in paths[-14:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path / 'here')
    found = [default_work_dir(path) for path in paths]
    assert len(paths) > 50 and len(set(found)) == len(paths)
    assert default_work_dir(ROOT / PAPER, dict(dataset='a/b.py', views='4x3')) == \
        'work_dirs/vita_k400,dataset=a-b-py-d9584a80,views=4x3'
    assert all(path.startswith('work_dirs/') for path in found)
    for path, place in {
            ROOT / PAPER: 'vita_k400', ROOT / RELEASED: 'released/vita_k400',
            'a/my.py': 'a/my', 'configs/released/new.py': 'released/new',
            'configs/../a/my.py': 'a/my'}.items():
        assert default_work_dir(path) == f'work_dirs/{place}'


def test_a_recipe_is_what_decides_a_training():
    recipe = make_recipe(read())
    assert recipe['optim_wrapper.optimizer.lr'] == 8e-4
    assert recipe['param_scheduler.0.T_max'] == 30
    assert recipe['train_dataloader.dataset.pipeline.1.frame_interval'] == 16
    assert recipe['clips_per_step'] == 32
    for same in ({'train_dataloader.num_workers': 0, 'log_level': 'ERROR'},
                 {'val_dataloader.batch_size': 1, 'train_cfg.val_interval': 7},
                 {'train_dataloader.batch_size': 8,
                  'optim_wrapper.accumulative_counts': 4},
                 {'default_hooks.checkpoint.interval': 9, 'experiment_name': 'x'}):
        assert make_recipe(read(**same)) == recipe
    for key, value in {
            'train_dataloader.batch_size': 16, 'optim_wrapper.accumulative_counts': 2,
            'model.cls_head.num_context': 3, 'randomness.seed': 4,
            'train_dataloader.dataset.ann_file': 'other.txt',
            'auto_scale_lr.enable': True, 'optim_wrapper.clip_grad.max_norm': 1,
            'train_dataloader.dataset.pipeline.1.frame_interval': 8}.items():
        assert make_recipe(read(**{key: value})) != recipe, key
    config = read()
    config.custom_hooks.append(dict(type='EMAHook'))
    assert make_recipe(config) != recipe


def test_the_same_recipe_is_resumed(trained):
    config = read(work_dir=trained)
    assert enter(config, 'auto') == []
    assert (config.load_from, config.resume) == (str(trained / 'epoch_2.pth'), True)
    assert len(names(trained)) == 3


def test_another_recipe_is_not_resumed(trained):
    before = (trained / 'recipe.json').read_text()
    config = read(RELEASED, trained)
    with pytest.raises(UserError) as error:
        enter(config, 'auto')
    for words in (f'{trained}/epoch_2.pth is of another recipe',
                  'optim_wrapper.optimizer.lr 0.0008 → 0.0004',
                  'model.backbone.freeze_summary_proj not set → True',
                  'param_scheduler.0.T_max 30 → 30000', '--change', '--work-dir'):
        assert words in str(error.value)
    assert not config.get('resume')
    assert (trained / 'recipe.json').read_text() == before
    assert len(names(trained)) == 3 and not list(trained.glob('earlier-*'))


LONGER = {'train_cfg.max_epochs': 60, 'param_scheduler.0.T_max': 60}


@pytest.mark.parametrize('changed', [
    [], ['train_cfg.max_epochs'], ['param_scheduler'], ['train_cfg.max', 'param_sched']])
def test_a_change_that_is_not_named_whole_is_refused(trained, changed):
    with pytest.raises(UserError):
        enter(read(work_dir=trained, **LONGER), 'auto', changed)


@pytest.mark.parametrize('changed', [
    [*LONGER], ['train_cfg', 'param_scheduler'], ['param_scheduler.0', 'train_cfg']])
def test_a_change_that_is_meant_is_named(trained, changed):
    config = read(work_dir=trained, **LONGER)
    note, = enter(config, 'auto', changed)
    assert 'param_scheduler.0.T_max 30 → 60; train_cfg.max_epochs 30 → 60' in note
    assert config.resume
    recipe = read_json(trained / 'recipe.json')
    assert recipe['recipe']['train_cfg.max_epochs'] == 60
    change, = recipe['history']
    assert change['changed']['train_cfg.max_epochs'] == [30, 60]
    # The same command again goes on; what was before is now another recipe.
    assert enter(read(work_dir=trained, **LONGER), 'auto', changed) == []
    assert len(read_json(trained / 'recipe.json')['history']) == 1
    with pytest.raises(UserError, match='train_cfg.max_epochs 60 → 30'):
        enter(read(work_dir=trained), 'auto')


def test_a_misspelt_change_is_named(trained):
    with pytest.raises(UserError, match="'train_cfg.max_epoch' is no key of a recipe"):
        enter(read(work_dir=trained, **LONGER), 'auto', ['train_cfg.max_epoch'])


def test_an_optimizer_cannot_be_changed(trained):
    config = read(work_dir=trained)
    config.optim_wrapper.optimizer.type = 'SGD'
    with pytest.raises(UserError, match='cannot be resumed with another optimizer'):
        enter(config, 'auto', ['optim_wrapper'])


def test_a_new_training_sets_an_earlier_one_aside(trained):
    note, = enter(read(RELEASED, trained))
    folder, = trained.glob('earlier-*')
    assert note == (f'3 checkpoints of an earlier training in {trained} are now in '
                    f'{folder}')
    assert names(trained) == [] and len(names(folder)) == 3
    assert not (trained / 'last_checkpoint').exists()
    assert read_json(folder / 'recipe.json')['recipe'] == make_recipe(read())
    assert read_json(trained / 'recipe.json')['recipe'] == make_recipe(read(RELEASED))
    save(trained, 1)
    enter(read(work_dir=trained))  # within the same second
    assert len(list(trained.glob('earlier-*'))) == 2


def test_an_earlier_training_can_be_resumed_where_it_is(trained):
    enter(read(RELEASED, trained))
    save(trained, 1)
    earlier, = trained.glob('earlier-*')
    with pytest.raises(UserError, match='is of another recipe'):
        enter(read(RELEASED, trained), earlier / 'epoch_2.pth')
    assert names(trained) == ['epoch_1.pth']
    config = read(work_dir=trained)
    assert len(enter(config, earlier / 'epoch_2.pth')) == 1
    assert config.load_from == str(earlier / 'epoch_2.pth')
    assert names(trained) == []


def test_what_is_behind_a_resumed_checkpoint_is_set_aside(trained):
    enter(read(work_dir=trained), trained / 'epoch_1.pth')
    assert names(trained) == ['epoch_1.pth']
    folder, = trained.glob('earlier-*')
    assert names(folder) == ['best_acc_top1_epoch_2.pth', 'epoch_2.pth']


def test_a_checkpoint_without_a_recipe_beside_it_tells_by_its_config(trained):
    (trained / 'recipe.json').unlink()
    save(trained, 2, read(**{'train_dataloader.num_workers': 3}))
    with pytest.raises(UserError, match='optimizer.lr 0.0008 → 0.0004'):
        enter(read(RELEASED, trained), 'auto')
    note, = enter(read(work_dir=trained), 'auto')
    assert 'does not say how many clips a step had' in note


def test_a_checkpoint_that_does_not_tell_is_resumed_with_a_note(trained):
    (trained / 'recipe.json').write_text('{"damaged')
    note, = enter(read(work_dir=trained), 'auto')
    assert 'does not say of which recipe it is' in note


def test_all_configs_are_read_back_from_their_text(monkeypatch):
    monkeypatch.setattr('mmengine.config.config.FormatCode', FormatCode)  # as it is
    for path in sorted((ROOT / 'configs').glob('*.py')):
        config = Config.fromfile(path)
        assert read_values(config.pretty_text) == config.to_dict()


@pytest.mark.parametrize('text', [
    'import os', 'a = open("x", "w")', 'a = [].append', 'a.b = 1', 'a = dict(**b)',
    'a = (', 'a = dict(1)'])
def test_the_text_of_a_config_is_not_executed(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, SyntaxError)):
        read_values(text)
    assert list(tmp_path.iterdir()) == []


def test_weights_alone_are_not_resumed(trained):
    torch.save(dict(state_dict={}), trained / 'weights.pth')
    with pytest.raises(UserError, match='holds weights alone'):
        enter(read(work_dir=trained), trained / 'weights.pth')


def test_a_work_dir_is_of_one_process(tmp_path):
    """Refused before anything in it is touched."""
    save(tmp_path / 'work', 1)
    with lock(tmp_path / 'work' / 'lock', 'it is held'):
        pass  # a lock that was left is none
    holder = hold_elsewhere(tmp_path / 'work' / 'lock')
    try:
        with pytest.raises(UserError, match=f'another training runs in {tmp_path}'):
            enter(read(work_dir=tmp_path / 'work'))
        assert names(tmp_path / 'work') == ['epoch_1.pth']
    finally:
        holder.terminate()
        holder.join()
    enter(read(work_dir=tmp_path / 'work'))


def hold_elsewhere(path):
    """A process that holds a lock, which is not refused to the process that has it."""
    context = torch.multiprocessing.get_context('fork')
    held = context.Event()

    def stay():
        file = lock(path, 'it is held')
        held.set()
        context.Event().wait(60)
        file.close()

    process = context.Process(target=stay, daemon=True)
    process.start()
    assert held.wait(30)
    return process


def test_a_work_dir_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written'):
        enter(read(work_dir=tmp_path / 'file' / 'work'))


def test_a_config_that_only_evaluates_is_not_trained(tmp_path):
    with pytest.raises(UserError, match='mini_k400.py only evaluates'):
        enter(read('configs/frozen_clip/mini_k400.py', tmp_path / 'work'))


def test_the_scaled_rate_sees_accumulation():
    config = read('configs/xclip/k400.py', **{'auto_scale_lr.enable': True})
    rate = config.optim_wrapper.optimizer.lr
    assert clips_per_step(config) == 32
    for _ in range(2):  # once
        scale_rate(config)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(rate * 32 / 256)
