"""Plans: a run is what its content says, its code what it imports, and all of it soon."""
import shutil
import sys
import time

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from vita_mm.errors import UserError
from vita_mm.harness.run import closure, plan
from vita_mm.harness.run.inputs import InputFinder, differences
from vita_mm.harness.run.records import Manifest
from vita_mm.harness.run.names import LONGEST, folder_name
from vita_mm.harness.run.plan import Plan
from vita_mm.harness.spec.suite import read_suite
from vita_mm.io.files import write_json
from world import ARCH, CONFIG, ROOT

SUITE = """
title: tiny
compared: order
tables:
  t:
    title: Table
    columns: {top1: {title: Top-1}}
    rows:
"""
PLUGIN = """
from mmaction.registry import MODELS
from vita_mm.models import VitaCLIPTextHead
from {helper} import factor


@MODELS.register_module()
class {name}(VitaCLIPTextHead):
    scale = factor
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Configs and lists, and files of some bytes in the place of videos and of CLIP."""
    monkeypatch.setenv('VITA_MM_CACHE', str(tmp_path / 'cache'))
    for name in ('train', 'val'):
        (tmp_path / f'{name}.txt').write_text(f'{name}.mp4 0\n')
        (tmp_path / f'{name}.mp4').write_bytes(b'video')
    (tmp_path / 'classes.txt').write_text('a\nb\nc\n')
    (tmp_path / 'clip.pt').write_bytes(b'weights')
    write_config(tmp_path, 'my.py')
    return tmp_path


def write_config(world, name, more=''):
    path = world / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG.format(root=ROOT, world=world, arch=ARCH) + more)
    return path


def make_plan(world, rows, **options):
    """Of rows, each a text in YAML's short form."""
    suite = world / 'suite.yaml'
    suite.write_text(SUITE + ''.join(
        f'      r{number}: {{label: r{number}, {row}}}\n'
        for number, row in enumerate(rows)))
    return Plan(read_suite(str(suite)), world / 'out', 1, **options)


def trainings(found):
    return [name.removesuffix('/seed0') for name, run in found.runs.items() if run.trains]


def train(world, override='', name='my.py'):
    return f'train: {world}/{name}, override: {{{override}}}'


def test_rows_with_the_same_last_words_are_two_runs(world):
    found = make_plan(world, [train(world, 'model.backbone.trained: false'),
                              train(world, 'model.cls_head.trained: false')])
    assert trainings(found) == ['my,model.backbone.trained=False',
                                'my,model.cls_head.trained=False']
    assert len({place.run.name for place in found.places}) == 2


def test_configs_of_the_same_name_are_two_runs(world):
    for folder, more in (('a', ''), ('b', 'optim_wrapper = dict(optimizer=dict(lr=1))')):
        write_config(world, f'{folder}/my.py', more)
    rows = [train(world, name=f'{folder}/my.py') for folder in 'ab']
    assert trainings(make_plan(world, rows)) == ['a-my', 'b-my']
    views = 'test_dataloader["dataset"]["pipeline"][1]["num_clips"] = {}'
    for folder in 'ab':
        write_config(world, f'{folder}/views.py', views.format(2 + (folder == 'b')))
    found = make_plan(world, [f'{rows[0]}, test: {world}/{folder}/views.py'
                              for folder in 'ab'])
    assert [place.run.name for place in found.places] == [
        'my@a-views/seed0', 'my@b-views/seed0']


def test_values_that_only_look_alike_are_two_runs(world):
    rows = [train(world, f'model.cls_head.templates: ["{text}"]')
            for text in ('a/b {}', 'a-b {}', 'x' * 200 + '{}', 'x' * 201 + '{}')]
    names = trainings(make_plan(world, rows))
    assert len(set(names)) == 4
    assert all(len(name.encode()) <= LONGEST + 20 for name in names)


def test_rows_that_resolve_to_the_same_are_one_run(world):
    rows = [train(world), train(world, 'model.backbone.num_global: 8'),
            train(world, 'train_dataloader.num_workers: 3')]
    found = make_plan(world, rows)
    assert trainings(found) == ['my'] and len(found.runs) == 2
    sentence, = found.shared(list(found.runs.values()))
    assert sentence.startswith('t/r0 and t/r1 and t/r2 are one run, my')


def test_the_order_of_keys_means_nothing(world):
    step = 'train_dataloader.dataset.pipeline.1'
    rows = [train(world, f'{step}: {{{keys}}}') for keys in (
        'num_clips: 2, keep_tail_frames: true', 'keep_tail_frames: true, num_clips: 2')]
    found = make_plan(world, rows)
    assert len(trainings(found)) == 1
    new = found.runs.popitem()[1].trained.inputs
    key = 'train_dataloader.dataset.pipeline'
    other = "'keep_tail_frames': True, 'num_clips': 2, 'type': 'SampleFrames'"
    assert other in new.config[key]
    old = new.model_copy(update=dict(config={**new.config, key: new.config[key].replace(
        other, "'type': 'SampleFrames', 'num_clips': 2, 'keep_tail_frames': True")}))
    assert old.config != new.config and differences(old, new) == []
    more = new.model_copy(update=dict(config={**new.config, key: '[]'}))
    assert len(differences(more, new)) == 1


def test_rows_that_differ_in_their_test_share_a_training(world):
    found = make_plan(world, [train(world), train(
        world, 'test_dataloader.dataset.pipeline.1.num_clips: 2')])
    assert trainings(found) == ['my']
    tests = [place.run for place in found.places]
    assert tests[0] is not tests[1] and 'num_clips=2' in tests[1].name
    pipelines = [run.config.test_dataloader.dataset.pipeline[1] for run in tests]
    assert [pipeline.get('num_clips') for pipeline in pipelines] == [None, 2]


def test_another_clip_of_the_same_shape_is_another_run(world):
    (world / 'other.pt').write_bytes(b'other weights')
    shutil.copy(world / 'clip.pt', world / 'same.pt')
    rows = [train(world, f'model.clip.pretrained: {world}/{name}.pt')
            for name in ('clip', 'other', 'same')]
    assert len(trainings(make_plan(world, rows))) == 2


def test_a_folder_keeps_its_name_when_a_row_comes_to_it(world):
    rows = [train(world, 'model.backbone.trained: false'),
            train(world, 'model.cls_head.trained: false')]
    first = make_plan(world, rows[:1])
    assert trainings(first) == ['my,trained=False']
    for run in first.runs.values():
        run.folder.create(run.config, Manifest.of(run.spec, 'tiny', None))
    both = make_plan(world, rows[::-1])
    assert trainings(both) == ['my,model.cls_head.trained=False', 'my,trained=False']
    assert both.runs['my,trained=False/seed0'].status.state == 'interrupted'


def test_a_suite_wide_override_that_deletes_does_so_in_every_config(world):
    write_config(world, 'second.py')
    found = make_plan(world, [train(world), train(world, name='second.py')], options={
        'optim_wrapper.optimizer': dict(_delete_=True, type='SGD', lr=1.0)})
    for run in found.runs.values():
        if run.trains:
            assert run.config.optim_wrapper.optimizer == dict(type='SGD', lr=1.0)


def test_runs_do_not_change_each_others_configs(world):
    """MMEngine's copies are shallow."""
    found = make_plan(world, [train(world), train(world, 'model.backbone.num_global: 2')])
    training, test, other, _ = found.runs.values()
    assert training.config.randomness.seed == 0
    assert training.config.train_dataloader is not None
    assert test.config.train_dataloader is None and test.config.model == \
        training.config.model
    assert other.config.model.backbone.num_global == 2
    assert training.config.model.backbone.num_global == 8


def test_long_names_say_which_keys_differ():
    name = folder_name('my', [('model.x', 'é' * 60 + '\n')])
    assert name.startswith('my,model.x,') and len(name) < LONGEST


@pytest.mark.parametrize('key, counts', [
    ('train_dataloader.num_workers: 2', False), ('auto_scale_lr.enable: true', False),
    ('train_dataloader.dataset.pipeline.1.num_workers: 2', True),
    ('precision: bfloat16', True), ('precision: float32', False),
    ('custom_hooks.TrackingHook.interval: 7', False),
    ('custom_hooks.ExactResumeHook.interval: 7', True)])
def test_what_decides_a_number(world, key, counts):
    config = plan.load_config(world / 'my.py')
    name, _, value = key.partition(': ')
    more = plan.load_config(world / 'my.py')
    for number, hook in enumerate(config.custom_hooks):
        name = name.replace(f'.{hook.type}.', f'.{number}.')
    more.merge_from_dict({name: value})
    inputs = InputFinder()
    assert (inputs.of(config).config != inputs.of(more).config) == counts


def test_a_file_that_a_config_names_counts_by_its_content(world):
    (world / 'words.txt').write_text('one')
    row = train(world, f'model.cls_head.words: {world}/words.txt')
    first = make_plan(world, [row]).runs.popitem()[1].inputs.data
    (world / 'words.txt').write_text('two')
    assert make_plan(world, [row]).runs.popitem()[1].inputs.data != first


# Code

@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Names of a plug-in, of what it imports, and of a module beside them."""
    number = f'{abs(hash(tmp_path)):x}'
    names = [f'{name}_{number}' for name in ('plug', 'helper', 'other')]
    (tmp_path / f'{names[0]}.py').write_text(PLUGIN.format(
        helper=names[1], name=f'Head{number}'))
    for name in names[1:]:
        (tmp_path / f'{name}.py').write_text('factor = 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path, names, f'Head{number}'
    for name in names:
        sys.modules.pop(name, None)


def test_a_plugin_and_what_it_imports_count(world, plugin):
    folder, names, head = plugin
    write_config(world, 'plug.py', f'model["cls_head"]["type"] = "{head}"\n'
                 f'custom_imports = dict(imports=["{names[0]}"])\n')
    row = [train(world, name='plug.py')]
    first = make_plan(world, row).runs
    for run in first.values():
        assert {f'{name}.py' for name in names[:2]} < set(run.inputs.code)
        assert f'{names[2]}.py' not in run.inputs.code
    for name in names[:2]:
        before = make_plan(world, row).runs['plug/seed0'].inputs.code
        file = folder / f'{name}.py'
        file.write_text(file.read_text().replace('= 1', '= 2').replace(
            '= factor', '= 1 / factor'))
        after = make_plan(world, row).runs['plug/seed0'].inputs.code
        assert [key for key in after if after[key] != before[key]] == [file.name]


def copy_of_package(tmp_path, monkeypatch):
    """A closure that reads a copy of this package."""
    copied = tmp_path / 'copy' / 'vita_mm'
    shutil.copytree(ROOT / 'vita_mm', copied)
    find = closure.Closure._find

    def find_copy(self, module):
        file = find(self, module)
        inside = file is not None and file.is_relative_to(ROOT / 'vita_mm')
        file = copied / file.relative_to(ROOT / 'vita_mm') if inside else file
        return file if file is not None and file.exists() else None

    monkeypatch.setattr(closure.Closure, '_find', find_copy)
    return copied


TYPES = ('VitaCLIP', 'VitaCLIPVisionTransformer', 'VitaCLIPTextHead', 'ClipDataset',
         'DecodeFrames', 'ExactResumeHook')


def test_code_that_decides_counts_and_no_other(tmp_path, monkeypatch):
    copied = copy_of_package(tmp_path, monkeypatch)
    before = closure.digest_code(TYPES)
    assert before == closure.digest_code(TYPES)

    (copied / 'models' / 'unrelated.py').write_text('class Unrelated: pass\n')
    for file in (copied / 'models/__init__.py', copied / 'engine/__init__.py'):
        file.write_text('from . import unrelated\n' + file.read_text())
    for file in ('models/evl/model.py', 'models/xclip/model.py', 'prepare/build.py',
                 'tracking/hook.py', 'harness/report/report.py',
                 'models/vita_clip/checkpoints.py'):
        append(copied / file, 'x = 1\n')
    edit(copied / 'harness/run/execute.py', 'def check_data(', 'def check_data(_, ')
    append(copied / 'models/common/vision.py', '# a comment\n')
    assert closure.digest_code(TYPES) == before

    for file in ('models/common/temporal.py', 'data/readers.py',
                 'labels/class_names.py'):
        append(copied / file, 'x = 1\n')
        before = {**before, f'vita_mm/{file}': None}
    for file, old, new in (
            ('harness/run/execute.py', 'share // n <= most', 'share // n < most'),
            ('engine/runs.py', "'pin_memory', True", "'pin_memory', False")):
        edit(copied / file, old, new)
        before = {**before, f'vita_mm/{file}': None}
    after = closure.digest_code(TYPES)
    assert {name for name in after if after[name] != before[name]} == {
        name for name in before if before[name] is None}


def append(file, text):
    file.write_text(file.read_text() + text)


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_packages_lead_to_the_module_that_defines_a_name(tmp_path, monkeypatch):
    package = tmp_path / 'pack_for_closure'
    (package / 'sub').mkdir(parents=True)
    for name, text in {
            '__init__.py': 'from .a import *\nfrom . import sub\n',
            'a.py': 'from .sub import deep as renamed\nclass A: pass\n',
            'b.py': 'class B: pass\n', 'sub/__init__.py': 'from .deep import deep\n',
            'sub/deep.py': 'import json, os.path\nimport pack_for_closure.c as c\n',
            'c.py': 'raise SystemExit\n'}.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = closure.digest_code((), ['pack_for_closure.a'])
    assert {name for name in found if name.startswith('pack')} == {
        f'pack_for_closure/{name}.py' for name in (
            '__init__', 'a', 'c', 'sub/__init__', 'sub/deep')}


def test_the_ways_a_run_is_put_together_are_there():
    """A renamed function would drop out of all digests without a word."""
    for module, names in closure.PATHS.items():
        tree = closure.parse(closure.Closure().file_of(module))
        assert set(names) <= closure.definitions(tree).keys()


# Speed

def many(world, count, configs):
    for number in range(configs):
        write_config(world, f'c{number}.py')
    return [train(world, f'optim_wrapper.optimizer.lr: {1 + number}, '
                  f'model.backbone.num_global: {number % 9}', f'c{number % configs}.py')
            for number in range(count)]


def test_each_config_is_read_once(world, monkeypatch):
    reads = []
    plain = plan.load_config
    monkeypatch.setattr(
        plan, 'load_config', lambda path: reads.append(path) or plain(path))
    rows = many(world, 100, 5)
    found = make_plan(world, [*rows, f'test: {world}/c0.py'])
    assert len(found.runs) == 201 and sorted(set(reads)) == sorted(reads)
    assert len(reads) == 5


@pytest.mark.slow
def test_two_thousand_rows_are_planned_soon(world):
    rows = many(world, 2000, 24)
    make_plan(world, rows[:24])
    start = time.process_time()
    assert len(make_plan(world, rows).runs) == 4000
    assert time.process_time() - start < 5


def test_a_config_without_a_test_set_is_said(world):
    write_config(world, 'none.py', 'test_dataloader = None\n')
    with pytest.raises(UserError, match='has no test_dataloader'):
        make_plan(world, [train(world, name='none.py')])


def test_a_row_whose_dataset_does_not_build_is_said(world):
    write_json(world / 'unused.json', {})
    found = make_plan(world, [train(world, 'train_dataloader.dataset.nonsense: 1')])
    assert 'nonsense' in found.runs.popitem()[1].trained.status.reasons[0]


def test_the_readings_that_nobody_settles_are_evaluated_each(tmp_path):
    plan = Plan(read_suite('readings'), tmp_path, seeds=1, trust_data=True)
    trained = {run.name for run in plan.runs.values() if run.trains}
    assert len(trained) == 4  # of Vita-CLIP one, whatever reads it
    steps = {place.row.name: {step['type']: step for step in place.run.config
                              .test_dataloader.dataset.pipeline}
             for place in plan.places if place.column.name == 'ucf101'}
    for row in ('vita_parts', 'clip_parts'):
        assert 'UniformSample' in steps[row]
    for row in ('vita_stride', 'clip_stride'):
        assert steps[row]['FittingSampleFrames']['clip_len'] == 32
    for row, short_side in (('vita_224', 48), ('vita_256', 55), ('clip_256', 55)):
        assert tuple(steps[row]['Resize']['scale']) == (-1, short_side)
