"""Options arrive as they are written."""
import argparse

import pytest
from vita_mm.cli.arguments import add_config_options, parse_value

WRITTEN = {
    '1': 1, '1e-3': 1e-3, 'true': True, 'False': False, 'None': None, '"1"': '1',
    '': '', '{}': '{}', '[': '[', '[a': '[a',
    '/data/CLIP weights/ViT-B-16.pt': '/data/CLIP weights/ViT-B-16.pt',
    '/data/a,b/c.pt': '/data/a,b/c.pt',
    'C:\\my data\\x': 'C:\\my data\\x',
    'a photo of a {}, a sport': 'a photo of a {}, a sport',
    '"a, b"': 'a, b',
    "don't stop": "don't stop",
    '["a video of a person {}."]': ['a video of a person {}.'],
    "['a {}, a sport', \"b's {}\"]": ['a {}, a sport', "b's {}"],
    '[riding a bike,air drumming]': ['riding a bike', 'air drumming'],
    "[don't, [1, 2], (3, x)]": ["don't", [1, 2], (3, 'x')],
    '[]': [], '[a,]': ['a'], '(0.9,0.98)': (0.9, 0.98),
    'a,b': ['a', 'b'], '1,2': [1, 2], '[a],[b]': [['a'], ['b']],
    '"a b","c"': ['a b', 'c'],
}


@pytest.mark.parametrize('text', WRITTEN)
def test_value_is_what_was_written(text):
    value = parse_value(text)
    assert value == WRITTEN[text] and type(value) is type(WRITTEN[text])


def parse(*words):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_options_are_collected(capsys):
    assert parse('a.b=1', 'c=x=y', '--cfg-options', 'd=e f') == {
        'a.b': 1, 'c': 'x=y', 'd': 'e f'}
    assert parse('a=1') == {'a': 1}  # nothing is left of an earlier call
    with pytest.raises(SystemExit):
        parse('model.clip.pretrained=/data/CLIP', 'weights.pt')
    assert "'weights.pt' is no KEY=VALUE" in capsys.readouterr().err
