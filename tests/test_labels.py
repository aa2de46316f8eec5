"""Class names, official splits and templates that come with the package."""
import pytest
from vita_mm.errors import UserError
from vita_mm.labels.class_names import (packaged_classes, read_classes, read_templates,
                                       told_apart)
from vita_mm.labels.splits import read_candidates, read_split, renamed_classes

SPLITS = (1, 2, 3)


@pytest.mark.parametrize('name, first, last, count', [
    ('kinetics400', 'abseiling', 'zumba', 400),
    ('kinetics600', 'abseiling', 'zumba', 600),
    ('kinetics600_new220', 'acting in play', 'yarn spinning', 220),
    ('hmdb51', 'brush hair', 'wave', 51),
    ('ssv2', 'Approaching something with your camera',
     'Wiping something off of something', 174),
    ('ucf101', 'Apply Eye Makeup', 'Yo Yo', 101),
    ('ucf101:folder', 'ApplyEyeMakeup', 'YoYo', 101)])
def test_class_lists_are_whole_and_in_order(name, first, last, count):
    names = read_classes(name)
    assert (names[0], names[-1], len(names)) == (first, last, count)


def test_every_list_is_tested_here():
    assert packaged_classes() == [
        'hmdb51', 'kinetics400', 'kinetics600', 'kinetics600_new220', 'ssv2', 'ucf101']


def test_hmdb51_is_in_the_order_of_its_folders():
    """A list of names is about that swaps two pairs."""
    names = read_classes('hmdb51')
    assert [names.index(name) for name in ('kick', 'kick ball')] == [20, 21]
    assert [names.index(name) for name in ('sword', 'sword exercise')] == [44, 45]
    for path, label in read_split('hmdb51', 'test', 1):
        assert path.split('/')[0].replace('_', ' ') == names[label]


def test_kinetics600_is_kinetics400_renamed_less_some_and_220_more():
    old, new = set(read_classes('kinetics400')), set(read_classes('kinetics600'))
    renamed = renamed_classes()
    dropped = {name for name, to in renamed.items() if not to}
    assert (len(renamed) - len(dropped), len(dropped)) == (12, 20)
    kept = {renamed.get(name, name) for name in old - dropped}
    unseen = set(read_classes('kinetics600_new220'))
    assert kept | unseen == new and not kept & unseen and len(unseen) == 220


@pytest.mark.parametrize('dataset, train, test, candidates', [
    ('hmdb51', [3570] * 3, [1530] * 3, 51),
    ('ucf101', [9537, 9586, 9624], [3783, 3734, 3696], 101),
    ('kinetics600_new220', [0] * 3, [14131, 14078, 14167], 160)])
def test_official_lists_are_whole(dataset, train, test, candidates):
    for split, num_train, num_test in zip(SPLITS, train, test):
        classes = read_candidates(dataset, split)
        assert len(classes) == candidates
        videos = read_split(dataset, 'test', split)
        assert len(set(videos)) == num_test
        assert {label for _, label in videos} == set(classes)
        others = read_split(dataset, 'train', split)
        assert len(others) == num_train and not set(others) & set(videos)


@pytest.mark.parametrize('part, split', [('val', 1), ('test', 4)])
def test_a_split_that_is_not_there_is_refused(part, split):
    with pytest.raises(UserError, match='there is no part'):
        read_split('hmdb51', part, split)


def test_names_are_cleaned(tmp_path):
    (tmp_path / 'names.txt').write_text('brush_hair\n  push  up\n')
    assert read_classes(str(tmp_path / 'names.txt')) == ['brush hair', 'push up']


def test_a_class_list_that_is_not_there_is_named():
    with pytest.raises(UserError, match='nowhere.txt.*kinetics400'):
        read_classes('nowhere.txt')
    with pytest.raises(UserError, match="hmdb51 has no column 'colour'"):
        read_classes('hmdb51:colour')


@pytest.mark.parametrize('name, count', [
    ('clip_kinetics700', 28), ('clip_ucf101', 48), ('actionclip', 16)])
def test_template_lists_are_whole(name, count):
    assert len(set(read_templates(name))) == count


@pytest.mark.parametrize('source', ['no_such_list', 'a photo', '{} and {}', []])
def test_templates_without_a_place_for_the_name_are_refused(source):
    with pytest.raises(UserError, match='template'):
        read_templates(source)


@pytest.mark.parametrize('names, first, second', [
    (['push up', 'yoga', 'push_up'], 0, 2), (['yoga', 'Yoga'], 0, 1)])
def test_a_name_that_is_there_twice_is_a_mistake_but_of_a_model(names, first, second):
    with pytest.raises(UserError, match=f'classes {first} and {second} have the same'):
        read_classes(names)
    shown = told_apart(read_classes(names, repeated=True))
    assert len(set(shown)) == len(names) and shown[second].endswith(f'(class {second})')
