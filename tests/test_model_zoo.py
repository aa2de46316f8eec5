"""The rows of the paper that are MMAction2's own: its configs and checkpoints."""
import pytest
from mmengine.config import Config
from vita_mm.errors import UserError
from vita_mm.harness.report.model_zoo import CONFIGS, describe_reference, read_zoo
from vita_mm.harness.spec.published import read_published
from vita_mm.harness.spec.suite import read_suite

TABLES = [table for table in read_suite('paper').tables
          if table.name in ('table1', 'table2')]
MODELS = [reference.model for table in TABLES
          for reference in table.references.values() if reference.model]


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.name)
def test_every_row_of_the_paper_is_run_or_referred_to(table):
    rows = {row for name, row, _ in read_published() if name == table.name}
    ours = {row.published for row in table.rows}
    assert rows == (ours - {None}) | set(table.references)
    assert not ours & set(table.references)


@pytest.mark.parametrize('name', MODELS)
def test_what_is_referred_to_is_there(name):
    model = read_zoo()[name]
    config = Config.fromfile(CONFIGS / model.config.removeprefix('mmaction::'))
    assert 'Recognizer' in config.model.type
    assert model.checkpoint.startswith('https://') and model.checkpoint.endswith('.pth')
    assert 30 < model.top1 < 100
    said = describe_reference(name, 'of other frames')
    assert model.config in said and f'{model.top1:g}; of other frames' in said


def test_what_is_not_there():
    assert describe_reference(None, 'it has others').startswith('not in MMAction2 1.')
    with pytest.raises(UserError, match="has no model 'swim'"):
        describe_reference('swim', '')
