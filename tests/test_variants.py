"""Variants of configs: on command lines, in suites and in docs; refused where they have
no meaning."""
import argparse
import ast
import re
import shlex

import vita_mm  # noqa: F401  (first: it repairs imports of the libraries below)
import pytest
from vita_mm.cli.arguments import add_common_arguments, add_variant_arguments
from vita_mm.engine.pipelines import find_sampling, find_step, with_steps
from vita_mm.engine.runs import load_config, read_config
from vita_mm.engine.variants import (DATASETS, Variants, apply_variants, pipeline_of,
                                     read_dataset)
from vita_mm.errors import UserError
from vita_mm.harness.spec.suite import read_suite
from vita_mm.labels.class_names import read_templates
from world import ROOT

PIPELINE = [dict(type='OpenVideo'), dict(type='SampleFrames', clip_len=8),
            dict(type='Resize', scale=(-1, 224)), dict(type='Resize', scale=(224, 224))]
TABLE = """
title: tiny
tables:
  t:
    title: Table
    columns: {{top1: {{title: Top-1{column}}}}}
    rows: {{r: {{label: r, {row}}}}}
"""


def config(name):
    return load_config(ROOT / 'configs' / name)


def changed(name, **variants):
    return apply_variants(config(name), Variants(**variants))


def test_steps_are_named_by_their_types():
    assert with_steps(PIPELINE, SampleFrames=dict(clip_len=16), OpenVideo=None) == [
        dict(type='SampleFrames', clip_len=16), *PIPELINE[2:]]
    assert with_steps(PIPELINE, SampleFrames=dict(type='UniformSample', clip_len=4))[
        1] == dict(type='UniformSample', clip_len=4)
    assert PIPELINE[1]['clip_len'] == 8
    for name, count in (('Resize', 2), ('Flip', 0)):
        with pytest.raises(UserError, match=f'one {name} is needed; .* has {count}'):
            with_steps(PIPELINE, **{name: dict(x=1)})
    with pytest.raises(UserError, match='one SampleFrames or UniformSample'):
        find_sampling([dict(type='OpenVideo')] * 2)


def test_every_dataset_is_there():
    for name in DATASETS:
        found = read_dataset(name)
        lists = found.test_dataloader.dataset.ann_file
        assert (len(lists) == 3 if found.test_cfg.get('prompts')
                else isinstance(lists, str)), name
    assert 'val_split1' in read_dataset('k600_val').test_dataloader.dataset.ann_file[0]


def test_a_clip_of_other_frames_is_of_the_model_and_its_training():
    found = changed('xclip/k400.py', frames=16)
    assert found.model.backbone.num_frames == 16
    assert {find_sampling(pipeline_of(found, loop))['clip_len']
            for loop in ('train', 'val', 'test')} == {16}
    assert (found.train_dataloader.batch_size, found.val_dataloader.batch_size,
            found.optim_wrapper.accumulative_counts) == (4, 16, 8)  # as many a step
    found = changed('xclip/k400.py', dataset='hmdb51', frames=16)
    assert found.model.backbone.num_frames == 8 and found.train_dataloader is None
    assert find_sampling(pipeline_of(found, 'test'))['clip_len'] == 16


def test_one_view_is_as_in_validation():
    wide = changed('xclip/k400.py', views='4x3')
    assert find_step(pipeline_of(wide, 'test'), 'Resize')['scale'] == (-1, 224)
    plain = config('xclip/k400.py').test_dataloader
    again = apply_variants(wide, Variants(views='1x1')).test_dataloader
    assert again.dataset == plain.dataset and again.batch_size < plain.batch_size
    assert wide.test_pipeline == wide.test_dataloader.dataset.pipeline


def test_clips_are_drawn_or_even():
    for name, views in (('xclip/k400.py', '4x3'), ('vifi_clip/k400.py', None),
                        ('actionclip/k400.py', None), ('efficient_prompt/a5.py', '1x1')):
        for clips in ('drawn', 'even'):
            found = changed(name, views=views, clips=clips)
            assert find_sampling(pipeline_of(found, 'test'))['clips'] == clips
            assert found.train_dataloader == config(name).train_dataloader
    other = changed('xclip/k400_32f.py', dataset='ucf101', views='2x1', clips='even')
    assert find_sampling(pipeline_of(other, 'test')) == dict(
        type='SegmentSample', clip_len=32, num_clips=2, clips='even', test_mode=True)


def test_what_the_paper_does_not_say_of_sampling_is_a_choice():
    plain = changed('vita_k400.py', dataset='hmdb51')
    again = changed('vita_k400.py', dataset='hmdb51', sampling='parts')
    assert again.test_dataloader == plain.test_dataloader
    found = changed('vita_k400.py', dataset='hmdb51', sampling='stride', views='2x1')
    assert find_sampling(pipeline_of(found, 'test')) == dict(
        type='FittingSampleFrames', clip_len=32, frame_interval=16, num_clips=2,
        out_of_bound_opt='last_frame', test_mode=True)
    assert find_sampling(pipeline_of(plain, 'test'))['type'] == 'UniformSample'
    found = changed('zero_shot/k600.py', sampling='stride', stride=4, frames=16)
    sampling = find_sampling(pipeline_of(found, 'test'))
    assert (sampling['clip_len'], sampling['frame_interval']) == (16, 4)


def test_a_dataset_takes_the_model_and_its_precision():
    found = changed('released/vita_k400.py', dataset='hmdb51', reading='tile')
    assert found.precision == 'float32' and found.model.backbone.freeze_summary_proj
    assert found.model.backbone.long_clips == 'tile'
    assert found.model.cls_head.classes == 'hmdb51'
    assert found.model.cls_head.context == 'none'
    # Classes that it was trained on need no prompts.
    same = changed('xclip/k400.py', dataset='k400')
    assert same.test_cfg.type == 'TestLoop'
    # The frames are those of the dataset's config, the pixels those of X-CLIP.
    assert same.test_dataloader.dataset == dict(
        config('vita_k400.py').test_dataloader.dataset, pipeline=with_steps(
            config('vita_k400.py').test_pipeline, Resize=dict(scale=(-1, 256))))
    # Others do, on a test set of a training, too.
    other = changed('vita_k400.py', dataset=str(ROOT / 'configs' / 'vita_ssv2.py'))
    assert other.test_cfg.prompts == dict(name='{}')
    assert other.model.cls_head.context == 'none'


@pytest.mark.parametrize('name, variants, words', [
    ('vita_k400.py', dict(dataset='hmdb'), "no dataset 'hmdb': say k400, "),
    ('vita_k400.py', dict(dataset='no.py'), 'cannot read the config no.py'),
    ('vita_k400.py', dict(split=1), 'no split 1; it has none'),
    ('vita_k400.py', dict(dataset='k600', split='vla'), 'it has er, val, 1, 2, 3'),
    ('zero_shot/ucf101.py', dict(split=4), 'no split 4; it has 1, 2, 3'),
    ('vita_ssv2.py', dict(stride=2), 'there is no stride'),
    ('efficient_prompt/a5.py', dict(stride=2), 'there is no stride: it is drawn'),
    ('vita_k400.py', dict(views='4x3', clips='even'), 'SampleFrames are evenly'),
    ('xclip/k400.py', dict(clips='even'), '--clips is for several, such as --views'),
    ('vita_k400.py', dict(sampling='stride'), 'SampleFrames are taken as in training'),
    ('vita_ssv2.py', dict(sampling='stride'), 'UniformSample are taken as in'),
    ('xclip/k400_32f.py', dict(dataset='k600', sampling='parts'), 'SegmentSample takes'),
    ('xclip/k400.py', dict(reading='tile'), '--reading is for Vita-CLIP'),
    ('vita_k400.py', dict(prompts='name'), '--prompts is for zero-shot'),
    ('zero_shot/hmdb51.py', dict(prompts='nmae'), 'name, templates are those of')])
def test_what_has_no_meaning_is_refused(name, variants, words):
    with pytest.raises(UserError, match=words) as raised:
        changed(name, **variants)
    assert Variants(**variants).words() in str(raised.value)


@pytest.mark.parametrize('variants, words', [
    (dict(views='4x2'), 'with 1 or 3 crops'), (dict(views='4'), 'such as 4x3'),
    (dict(frames=0), 'frames is a number from 1'), (dict(frames=True), 'not True'),
    (dict(clips='odd'), "clips is drawn or even, not 'odd'"),
    (dict(sampling='dense'), 'sampling is parts or stride'),
    (dict(reading='loop'), 'frame_windows or tile'), (dict(split=0), 'from 1, not 0')])
def test_what_cannot_be_meant_is_said(variants, words):
    with pytest.raises(ValueError, match=words):
        Variants(**variants)


def test_a_command_line_says_them_together():
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    add_variant_arguments(parser)
    args = parser.parse_args(['--split', '2', '--dataset', 'k600', '--frames', '8'])
    assert args.variants == dict(split=2, dataset='k600', frames=8)
    assert parser.parse_args([]).variants == {}
    args = parser.parse_args(['--views', '4x2'])
    args.config = str(ROOT / 'configs' / 'vita_k400.py')
    with pytest.raises(UserError, match='with 1 or 3 crops'):
        read_config(args)


# Documents

def commands():
    """The commands of training and evaluation in the docs, by their lines."""
    text = (ROOT / 'docs' / 'configs.md').read_text()
    return re.findall(r'`tools/dist_(train|test)\.sh (.+?)`', text)


def parse(verb, words):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    if verb == 'test':
        parser.add_argument('checkpoint')
    parser.add_argument('processes', type=int)
    add_common_arguments(parser)
    add_variant_arguments(parser, trains=verb == 'train')
    return parser.parse_args(words)


def test_every_command_of_the_docs_is_a_config(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = {words: read_config(parse(verb, shlex.split(words)))
             for verb, words in commands()}
    assert len(found) > 15
    for words, one in found.items():
        assert one.get('test_dataloader'), words
        variants = re.findall(r'--(\w+) (\w+)', words)
        assert all(f',{key}={value}' in one.work_dir for key, value in variants
                   if key in ('dataset', 'frames', 'views')), words
    assert len({one.work_dir for one in found.values()}) == len(found)


def test_the_config_of_the_docs_is_one(tmp_path):
    text = (ROOT / 'docs' / 'configs.md').read_text()
    path = tmp_path / 'my.py'
    path.write_text(re.search(r'```python\n(.+?)```', text, re.DOTALL)[1].replace(
        '/path/to', str(ROOT)))
    found = load_config(path)
    assert [step['type'] for step in pipeline_of(found, 'train')][3:5] == [
        'Resize', 'CenterCrop']
    other = changed('frozen_clip/k400.py', dataset=str(path))
    assert other.test_dataloader.dataset.ann_file == 'my_test.txt'
    assert set(other.test_cfg.prompts) == {'name', 'templates'}


# Suites

def suite(folder, row, column=''):
    path = folder / 'suite.yaml'
    path.write_text(TABLE.format(row=row, column=column))
    return path


@pytest.mark.parametrize('row, words', [
    ('train: x.py, veiws: 4x3', "unknown field 'veiws'; did you mean 'views'"),
    ('train: x.py, views: 4x2', 't/r: views are clips x crops'),
    ('train: x.py, dataset: hmbd', "t/r: top1: there is no dataset 'hmbd'"),
    ('train: x.py, dataset: k600, test: y.py', 'a test config and a dataset'),
    ('train: x.py, cells: {top1: {frames: no}}', 't/r: top1: frames is a number'),
    ('train: x.py, cells: {top1: {scael: 1}}', "unknown field 'scael'; did you mean"),
    ('train: [x.py]', r"train: .*not \['x.py'\]"),
    ('train: x.py, tolerance: much', "tolerance.*: .*not 'much'"),
    ('dataset: k600', 'top1 needs a test config')])
def test_a_mistake_in_a_row_is_one_sentence(tmp_path, row, words):
    with pytest.raises(UserError, match=words):
        read_suite(str(suite(tmp_path, row)))


def test_what_a_cell_says_comes_before_its_row_and_its_column(tmp_path):
    path = suite(tmp_path, 'train: x.py, reading: tile, frames: 16, '
                 'cells: {top1: {split: 2}}', ', dataset: k600, reading: frame_windows')
    table, = read_suite(str(path)).tables
    row, = table.rows
    # Its frames are of the training, not of the dataset's protocol.
    assert table.column(row, 'top1').variants == Variants(
        dataset='k600', reading='tile', split=2)
    assert row.of_training == Variants(frames=16)


def test_a_config_beside_the_suite_comes_before_one_of_the_project(tmp_path):
    (tmp_path / 'configs').mkdir()
    mine = tmp_path / 'configs' / 'vita_k400.py'
    mine.write_text('')
    path = suite(tmp_path, 'train: configs/vita_k400.py, test: configs/vita_ssv2.py')
    row, = read_suite(str(path)).tables[0].rows
    assert (row.train, row.test) == (str(mine), 'configs/vita_ssv2.py')


def test_the_form_of_class_names_is_a_variant():
    found = changed('xclip/k400_32f.py', dataset='ucf101', names='folder')
    assert found.model.cls_head.classes == 'ucf101:folder' == \
        found.test_dataloader.dataset.classes
    assert found.model.cls_head.type == 'XCLIPTextHead'
    assert config('zero_shot/ucf101.py').model.cls_head.classes == 'ucf101'
    assert changed('zero_shot/ucf101.py', names='name').model.cls_head.classes == 'ucf101'
    with pytest.raises(UserError, match="hmdb51 has no column 'x' of names; it has fold"):
        changed('zero_shot/hmdb51.py', names='x')
    with pytest.raises(UserError, match='--names folder is for a list of classes that c'):
        changed('zero_shot/mini_ucf101.py', names='folder')


@pytest.mark.parametrize('name, own', [
    ('vifi_clip', 'a photo of a {}.'), ('actionclip', 'actionclip'), ('xclip', None)])
def test_prompts_that_a_system_was_published_with_are_evaluated(name, own):
    found = changed(f'{name}/k400.py', dataset='hmdb51')
    assert found.test_cfg.prompts.get(name) == own
    assert {'name', 'templates'} <= found.test_cfg.prompts.keys()
    if own:
        one = changed(f'{name}/k400.py', dataset='hmdb51', prompts=name)
        assert one.test_cfg.prompts == {name: own}


def said():
    """The lines of each config's docstring and of the pages of docs/."""
    for path in [*ROOT.glob('configs/**/*.py'), ROOT / 'README.md',
                 *ROOT.glob('docs/*.md')]:
        text = path.read_text(encoding='utf-8')
        if path.suffix == '.py':
            text = ast.get_docstring(ast.parse(text)) or ''
        yield from text.replace('\\\n', ' ').splitlines()


def test_the_prompts_and_datasets_that_are_named_exist():
    named = prompted = 0
    for line in said():
        options = dict(re.findall(r'--(dataset|prompts|names) +([\w.]+)', line))
        file = re.search(r'configs/([\w/]+\.py)', line)
        if options.get('dataset', 'NAME') not in ('NAME', 'my.py'):
            assert options['dataset'] in DATASETS, line
            named += 1
        if file and options.keys() - {'dataset'}:
            changed(file[1], **options)
            prompted += 1
        for name in re.findall(r"templates=[`']?([a-z]\w+)", line):
            read_templates(name)
    assert named > 5 and prompted > 1
