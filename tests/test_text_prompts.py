"""The text side: contexts, class names and manual prompts."""
import itertools

import pytest
import torch
from conftest import tiny_clip_config
from vita_mm.errors import UserError

# Several tokens, an underscore, and ends that share a token with the full stop.
AWKWARD = ['skiing (not slalom or crosscountry)', 'abseiling', "it's up!", 'push_up',
           'dr.', 'café 2']


@pytest.mark.parametrize('context, position',
                         itertools.product(['csc', 'uc'], ['end', 'middle', 'front']))
def test_learned_context(check_reference, context, position):
    head = dict(context=context, context_position=position, num_context=5,
                classes=AWKWARD)
    model = check_reference(head=head)
    shape = (5, 16) if context == 'uc' else (6, 5, 16)
    assert model.state_dict()['cls_head.context.vectors'].shape == shape


@pytest.mark.parametrize('position', ['end', 'middle', 'front'])
def test_one_context_vector(check_reference, position):
    check_reference(head=dict(num_context=1, context_position=position))


@pytest.mark.parametrize('templates', [
    ['{}'],
    ['a video of a person {}.'],
    ['a photo of {}.', '{} in a video', 'the act: {}!'],
], ids=['name', 'one', 'several'])
@pytest.mark.parametrize('quick_gelu', [False, True])
def test_manual_prompts(check_reference, templates, quick_gelu):
    model = check_reference(
        head=dict(context='none', templates=templates, classes=AWKWARD),
        arch=tiny_clip_config(quick_gelu=quick_gelu))
    assert not [name for name in model.state_dict() if 'context' in name]


def test_default_manual_prompt_is_the_bare_name(build_model):
    features = [build_model(head=dict(context='none', **given)).cls_head.text_features()
                for given in ({}, dict(templates='{}'), dict(templates=['{}']))]
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[0], features[2])


@pytest.mark.parametrize('context', ['csc', 'uc'])
def test_context_starts_from_words(build_model, context):
    words = 'a video of a'
    model = build_model(
        head=dict(context=context, num_context=4, context_init=words,
                  context_position='end'), scattered=False)
    manual = build_model(head=dict(context='none', templates=words + ' {}.'))
    assert torch.allclose(model.cls_head.text_features(),
                          manual.cls_head.text_features(), rtol=0, atol=1e-12)
    assert model.cls_head.context.vectors.requires_grad


def test_contexts_of_classes_differ_from_the_start(build_model):
    vectors = build_model(scattered=False).state_dict()['cls_head.context.vectors']
    assert not torch.equal(vectors[0], vectors[1])


def test_longest_name_that_fits(check_reference, build_model):
    # SOT, context, name, full stop and EOT fill all 77 places.
    longest = ' '.join(['dog'] * 71)
    check_reference(head=dict(classes=[longest, 'cat']))
    with pytest.raises(UserError, match='dog dog dog'):
        build_model(head=dict(classes=[longest + ' dog', 'cat']))


def test_classes_from_a_text_file(build_model, tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('riding a  bike\nair_drumming\n', encoding='utf-8')
    model = build_model(head=dict(classes=str(path)))
    assert model.cls_head.classes == ['riding a bike', 'air drumming']


def test_classes_of_the_package(build_model):
    names = build_model(head=dict(classes='kinetics400')).cls_head.classes
    assert (len(names), names[0], names[-1]) == (400, 'abseiling', 'zumba')


@pytest.mark.parametrize('change, named', [
    (dict(classes=['yoga', '', 'ski']), ['1', 'empty']),
    (dict(classes=['yoga', ' _ ']), ['1', 'empty']),
    (dict(classes=[]), ['no class names']),
    (dict(classes='no/such/file.txt'), ['no/such/file.txt', 'kinetics400']),
    (dict(context_init='a photo of'), ['a photo of', '3', '4']),
])
def test_names_and_context(build_model, change, named):
    with pytest.raises(UserError) as caught:
        build_model(head=dict(num_context=4) | change)
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize('templates, named', [
    ('a video', 'a video'),
    (['{}', 'a video'], 'a video'),
    ('{} and {}', '{} and {}'),
    ([], 'templates'),
    ('{}' + ' very' * 80, 'riding a bike'),
], ids=['no_place', 'second_has_none', 'two_places', 'none', 'too_long'])
def test_templates(build_model, templates, named):
    with pytest.raises(UserError) as caught:
        build_model(head=dict(context='none', templates=templates))
    assert named in str(caught.value)
