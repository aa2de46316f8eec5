"""The text of a config is made once for as long as the config stays as it is."""
import copy

from mmengine.config import Config
from vita_mm.engine.config_text import OnceFormatted


def test_a_config_is_formatted_once_and_anew_where_it_changes(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr('mmengine.config.config.FormatCode',
                        lambda text, **_: made.append(text) or (f'{text}# made', True))
    config = Config(dict(model=dict(type='A', size=[1, 2]), lr=0.1))
    expected = config.pretty_text
    made.clear()
    same = OnceFormatted.of(config)
    assert isinstance(same, Config) and same.to_dict() == config.to_dict()
    assert same.pretty_text == same.dump() == expected
    assert copy.deepcopy(same).pretty_text == expected  # as a Runner keeps it
    same.dump(tmp_path / 'config.py')
    assert (tmp_path / 'config.py').read_text() == expected
    assert len(made) == 1
    config.model.size[0] = 3  # seen in both
    assert same.pretty_text == config.pretty_text != expected
    assert same.pretty_text == config.pretty_text
