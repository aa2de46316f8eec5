"""Records of runs: closed, naming the field at fault, and readable in older forms."""
import json

import vita_mm  # noqa: F401  first, for it repairs imports of the libraries below
import pytest
from vita_mm.errors import UserError
from vita_mm.harness.run.records import Inputs, Manifest

INPUTS = dict(config={'model.type': "'VitaCLIP'"}, code={'a.py': '12'},
              data={'train': 'ab'}, clip={'pretrained': 'cd'}, weights=None, missing=None)
# As written before there was a schema.
OLDER = dict(name='my/seed1', inputs=INPUTS, seed=1, suite='mini', parent=None,
             trained=None)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest = Manifest(name='my@test/seed1', rows=['t/r'], source='my.py', seed=1,
                        trained='/runs/my/seed1', inputs=Inputs(**INPUTS), suite='mini',
                        parent=dict(experiment='x'))
    manifest.write(tmp_path / 'run.json')
    assert json.loads((tmp_path / 'run.json').read_text())['schema'] == 1
    assert Manifest.read(tmp_path / 'run.json') == manifest


def test_a_manifest_of_before_the_schema_is_read():
    found = Manifest.parse(dict(OLDER, frames=8, inputs=dict(INPUTS, gone='x')),
                           'run.json')
    assert found.inputs == Inputs(**INPUTS) and found.inputs.looks == {}
    assert found.seed == 1 and found.version == 1


def test_no_manifest_and_a_broken_one_are_none(tmp_path):
    assert Manifest.read(tmp_path / 'run.json') is None
    (tmp_path / 'run.json').write_text('{"name": ')
    assert Manifest.read(tmp_path / 'run.json') is None


@pytest.mark.parametrize('change, said', [
    (dict(sead=1), "unknown field 'sead'"), (dict(seed='one'), 'seed: '),
    (dict(schema=2), 'of the schema 2, which this version'),
    (dict(inputs=dict(INPUTS, code={'a.py': 5})), 'inputs.code.a.py: '),
    (dict(inputs=dict(INPUTS, extra=5)), "unknown field 'inputs.extra'"),
    (dict(inputs=None), 'inputs: ')])
def test_the_field_at_fault_is_named(tmp_path, change, said):
    path = tmp_path / 'run.json'
    path.write_text(json.dumps({**OLDER, 'schema': 1, **change}))
    with pytest.raises(UserError) as fault:
        Manifest.read(path)
    assert str(fault.value).startswith(f'{path}: ') and said in str(fault.value)


def test_a_missing_field_is_named():
    older = {key: value for key, value in OLDER.items() if key != 'inputs'}
    with pytest.raises(UserError, match="the field 'inputs' is missing"):
        Manifest.parse(older, 'run.json')
