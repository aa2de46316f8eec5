"""Every config of the project is of one system, and each system has its configs."""
from pathlib import Path

import pytest
from mmengine.config import Config

import vita_mm  # noqa: F401
from vita_mm.errors import UserError
from vita_mm.systems import SYSTEMS, check_verb, find_system

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/*.py')
                 if path.parent.name != '_base_')


@pytest.mark.parametrize('path', CONFIGS)
def test_config_is_of_the_system_of_its_folder(path):
    folder = Path(path).parts[1]
    expected = folder if folder in SYSTEMS else 'vita_clip'
    assert find_system(Config.fromfile(ROOT / path).model).name == expected


def test_systems_name_configs_of_theirs():
    for system in SYSTEMS.values():
        for path in (system.config, system.paper_config):
            assert find_system(Config.fromfile(ROOT / path).model) is system


def test_systems_are_described_and_converted_or_say_why_not():
    for system in SYSTEMS.values():
        assert system.parts is not None and system.code and system.paper
        assert (system.conversion is None) == ('convert' in system.refusals)


@pytest.mark.parametrize('head, name', [
    (dict(type='CLIPTextHead'), 'frozen_clip'),
    (dict(type='VitaCLIPTextHead', context='none'), 'frozen_clip'),
    (dict(type='VitaCLIPTextHead'), None),  # it has class-specific contexts
    (dict(type='CLIPTextHead', trained=True), None)])
def test_frozen_clip_has_nothing_to_train(head, name):
    found = find_system(dict(backbone=dict(type='CLIPVisionTransformer'), cls_head=head))
    assert (found and found.name) == name


def test_model_of_others_is_of_none():
    stock = dict(type='Recognizer2D', backbone=dict(type='ResNet'),
                 cls_head=dict(type='TSNHead'))
    assert find_system(stock) is None


def test_refusal_is_a_sentence():
    with pytest.raises(UserError, match='train: nothing of frozen CLIP is trained'):
        check_verb('train', SYSTEMS['frozen_clip'])
    check_verb('train', SYSTEMS['vita_clip'])
