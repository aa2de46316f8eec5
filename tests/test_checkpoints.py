"""Checkpoints are untrusted input: what is read of them, and how much."""
import argparse
import errno
import os
import pkgutil
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import Payload
from vita_mm.errors import UserError
from vita_mm.io.checkpoints import find_checkpoint, read_tensors, write_atomically
from vita_mm.io.foreign import read_foreign

STATE = dict(state_dict=dict(weight=torch.arange(6.).reshape(2, 3)), meta=dict(epoch=1))


def same(found):
    return torch.equal(found['state_dict']['weight'], STATE['state_dict']['weight'])


def repack(source, target, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


@pytest.fixture(autouse=True)
def no_slack(monkeypatch):
    monkeypatch.setattr('vita_mm.io.checkpoints.SLACK', 0)


def refused_unread(path):
    """The error of a file that is not even begun to be unpacked."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(torch, 'load', lambda *_, **__: pytest.fail('it is unpacked'))
        read_tensors(path)
    return str(caught.value)


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    torch.save(dict(STATE, zeros=torch.zeros(10_000)), tmp_path / 'plain.pth')
    repack(tmp_path / 'plain.pth', tmp_path / 'packed.pth')
    said = refused_unread(tmp_path / 'packed.pth')
    assert 'packed.pth is not loaded: its ' in said and ' unpack to 4' in said
    assert 'VITA_MM_CHECKPOINT_INFLATION=' in said
    assert same(read_tensors(tmp_path / 'packed.pth', inflation=50))
    monkeypatch.setenv('VITA_MM_CHECKPOINT_INFLATION', '50')
    assert same(read_tensors(tmp_path / 'packed.pth'))
    monkeypatch.setenv('VITA_MM_CHECKPOINT_INFLATION', 'much')
    with pytest.raises(UserError, match="a number such as 20, not 'much'"):
        read_tensors(tmp_path / 'packed.pth')


def test_entries_that_share_their_bytes_are_counted_each(tmp_path):
    """An archive can name the same bytes many times without any compression."""
    path = tmp_path / 'overlapping.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}.')
        archive.writestr('a/data/0', bytes(100_000))
        for number in range(1, 50):
            entry = zipfile.ZipInfo(f'a/data/{number}')
            first = archive.getinfo('a/data/0')
            for field in ('file_size', 'compress_size', 'CRC', 'header_offset'):
                setattr(entry, field, getattr(first, field))
            archive.filelist.append(entry)
    assert 'unpack to 5,000,0' in refused_unread(path)


class Greedy:
    def __reduce__(self):
        return bytearray, (1000, )


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'old format'])
def test_a_call_that_asks_for_memory_is_refused(tmp_path, new):
    torch.save(dict(STATE, extra=Greedy()), tmp_path / 'greedy.pth',
               _use_new_zipfile_serialization=new)
    said = refused_unread(tmp_path / 'greedy.pth')
    assert 'greedy.pth is not loaded: it holds a bytearray' in said


def test_files_of_old_torch_are_read(tmp_path):
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert same(read_tensors(tmp_path / 'old.pth'))


class CfgNode(dict):
    """As yacs pickles its own."""


CfgNode.__module__ = 'yacs.config'


@pytest.fixture
def yacs(monkeypatch):
    """For writing files only."""
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, 'yacs', ModuleType('yacs'))
        config = ModuleType('yacs.config')
        config.CfgNode = CfgNode
        patched.setitem(sys.modules, 'yacs.config', config)
        yield


@pytest.fixture
def with_settings(yacs, tmp_path):
    """Function: a file that holds settings of yacs and more."""
    def write(new=True, **more):
        node = CfgNode(DATA=CfgNode(FRAMES=8, NAMES=('a', 'b')))
        node.__dict__.update(__immutable__=False, __deprecated_keys__={'OLD'})
        torch.save(dict(STATE, config=node, **more), tmp_path / 'settings.pth',
                   _use_new_zipfile_serialization=new)
        return tmp_path / 'settings.pth'
    return write


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'old'])
def test_beside_settings_of_yacs_the_tensors_are_read(with_settings, new):
    path = with_settings(new, epoch=29, optimizer=dict(
        state={0: dict(step=torch.tensor(3.))}, param_groups=[dict(params=[0])]))
    with pytest.raises(UserError, match='more than tensors'):
        read_tensors(path)
    found = read_foreign(path)
    assert same(found) and found['meta'] == STATE['meta'] and found['epoch'] == 29
    assert found['optimizer']['state'][0]['step'] == 3
    assert found.left_out == dict(config='yacs.config.CfgNode')


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'old'])
def test_tensors_are_what_torch_reads(tmp_path, new):
    numbers = torch.arange(24.)
    state = OrderedDict(
        whole=numbers, part=numbers[3:9].view(2, 3), turned=numbers.view(4, 6).T,
        one=torch.tensor(7), none=torch.empty(0, 3),
        parameter=torch.nn.Parameter(numbers),
        **{str(kind): torch.tensor([0, 1, 3]).to(kind) for kind in (
            torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
            torch.int16, torch.int8, torch.uint8, torch.bool)})
    torch.save(dict(model=state), tmp_path / 'file.pth',
               _use_new_zipfile_serialization=new)
    found = read_foreign(tmp_path / 'file.pth')
    assert found.left_out == {} and found['model'].keys() == state.keys()
    for key, value in state.items():
        given = found['model'][key]
        assert given.dtype == value.dtype and torch.equal(given, value), key


class Own:
    """A class that only its own project has."""

    def __init__(self):
        self.part = [Payload('executed')]


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'old'])
def test_nothing_that_a_file_asks_for_is_made_or_called(tmp_path, monkeypatch, new):
    monkeypatch.chdir(tmp_path)
    more = dict(
        args=argparse.Namespace(lr=0.1, own=Own()), best=np.float64(0.5),
        code=Payload('executed'), nested=[(1, {'a': Payload('executed')})],
        keys={Payload('executed'): 1}, counts=defaultdict(list, a=[1]),
        table=np.arange(3), names={'a', 'b'}, module=torch.nn.Linear(1, 1),
        called=Calls('os.system', 'touch executed'),
        made=Calls('builtins.eval', "open('executed', 'w')"))
    torch.save(dict(more, **STATE), 'file.pth', _use_new_zipfile_serialization=new)
    for name in ('executed', 'touched'):
        Path(name).unlink(missing_ok=True)
    found = read_foreign('file.pth')
    assert same(found) and found.keys() == STATE.keys()
    assert found.left_out.keys() == more.keys()
    assert found.left_out['args'] == 'argparse.Namespace'
    assert found.left_out['module'] == 'torch.nn.modules.linear.Linear'
    assert found.left_out['called'] in ('os.system', 'posix.system')
    assert not Path('executed').exists()


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments

    def __reduce__(self):
        return pkgutil.resolve_name(self.name), self.arguments


def by_hand(path, pickled, data=b''):
    """A file of torch with a pickle written by hand."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x/data.pkl', pickled)
        archive.writestr('x/data/0', data)


def tensor_by_hand(number, size, stride):
    """A pickle of a tensor under the key a, on the storage 0 of so many numbers."""
    return (b'\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n('
            b'(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0'
            b'0X\x03\0\0\0cpuK%ctQK\0(L%dL\nt(L%dL\nt\x89NtRs.' % (number, size, stride))


@pytest.mark.parametrize('pickled', [
    b'\x80\x02}r\xff\xff\xff\x7f.',  # a place in the memo far away: is harmless
    b'\x80\x05\x96\0\0\0\0\0\0\0\x7f.',  # so many bytes
    b'\x80\x02cos\nsystem\n(X\x04\0\0\0exitt',  # cut off
    b'\x80\x02cos\nsystem\n.', b'\x80\x02]' + b']' * 5000 + b'a' * 5000 + b'.',
    b'\x80\x02}X\x01\0\0\0a' + b']' * 5000 + b'a' * 4999 + b's.',
    b'\x80\x02}X\x01\0\0\0a]q\x01h\x01as.',  # a list that holds itself
    b'\x80\x02}]K\x01s.', b'\x80\x02}\x82\x01K\x01s.', b'no pickle'])
def test_a_pickle_that_would_hurt_is_refused_or_left_out(tmp_path, pickled):
    by_hand(tmp_path / 'file.pth', pickled)
    try:
        assert not read_foreign(tmp_path / 'file.pth')
    except UserError as error:
        assert 'file.pth is not ' in str(error)


@pytest.mark.parametrize('number, size, stride', [
    (2, 3, 1), (4, 4, 1), (2, 2**40, 0), (2, -1, 1), (2, 2, -1), (2, 2, 2**40)])
def test_a_tensor_stays_within_its_storage(tmp_path, number, size, stride):
    by_hand(tmp_path / 'file.pth', tensor_by_hand(number, size, stride), bytes(8))
    with pytest.raises(UserError, match='is not a readable checkpoint: it is damaged'):
        read_foreign(tmp_path / 'file.pth')
    by_hand(tmp_path / 'good.pth', tensor_by_hand(2, 2, 1), bytes(8))
    assert torch.equal(read_foreign(tmp_path / 'good.pth')['a'], torch.zeros(2))


def test_a_foreign_file_is_as_small_as_it_unpacks(with_settings, tmp_path):
    path = with_settings(zeros=torch.zeros(10_000))
    repack(path, tmp_path / 'packed.pth')
    with pytest.raises(UserError, match='packed.pth is not loaded: its '):
        read_foreign(tmp_path / 'packed.pth')
    with pytest.raises(UserError, match='there is no checkpoint'):
        read_foreign(tmp_path / 'none.pth')
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / 'script.pt')
    torch.save([1], tmp_path / 'list.pth')
    for name in ('script.pt', 'list.pth'):
        with pytest.raises(UserError, match=f'{name} is not a checkpoint: it holds no d'):
            read_foreign(tmp_path / name)


def fifo(path):
    os.mkfifo(path)


def text(path):
    path.write_text('no checkpoint')


def cut(path):
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-300])


def code(path):
    torch.save(dict(STATE, code=Payload(path.with_name('executed'))), path)


def lies_about_sizes(path):
    """A tensor that claims to be larger than what is stored of it."""
    torch.save(dict(weight=torch.zeros(10)), path.with_name('honest.pth'))
    with zipfile.ZipFile(path.with_name('honest.pth')) as old, \
            zipfile.ZipFile(path, 'w') as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith('data.pkl'):
                assert b'K\n' in content
                content = content.replace(b'K\n', b'J\x00\xe1\xf5\x05')
            new.writestr(entry.filename, content)


def hides_its_size(path):
    """An archive whose table says that its largest entry unpacks to ten bytes."""
    torch.save(dict(weight=torch.zeros(10_000)), path.with_name('honest.pth'))
    repack(path.with_name('honest.pth'), path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.getinfo('honest/data/0').file_size = 10
        archive.writestr('honest/more', b'')  # else the table is not written anew


@pytest.mark.parametrize('make', [fifo, text, cut, code, lies_about_sizes,
                                  hides_its_size])
def test_what_is_no_whole_checkpoint_of_tensors_is_refused(tmp_path, make):
    make(tmp_path / 'wrong.pth')
    with pytest.raises(UserError, match='wrong.pth'):
        read_tensors(tmp_path / 'wrong.pth')
    assert not (tmp_path / 'executed').exists()


def test_a_work_dir_names_its_last_whole_weights(tmp_path, capsys):
    for epoch in (2, 9, 10):
        torch.save(STATE, tmp_path / f'epoch_{epoch}.pth')
    torch.save(STATE, tmp_path / 'best_acc_top1_epoch_12.pth')
    (tmp_path / 'epoch_11.pth').write_bytes(b'PK\x03\x04 cut off')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_10.pth'
    assert 'passed over: ' in capsys.readouterr().out
    assert find_checkpoint(tmp_path / 'epoch_2.pth') == tmp_path / 'epoch_2.pth'
    (tmp_path / 'empty').mkdir()
    for path, sentence in (('empty', 'holds no whole checkpoint'),
                           ('gone.pth', 'there is no checkpoint')):
        with pytest.raises(UserError, match=sentence):
            find_checkpoint(tmp_path / path)
    torch.save(STATE, tmp_path / 'empty' / 'iter_400.pth')
    assert find_checkpoint(str(tmp_path / 'empty')).name == 'iter_400.pth'


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / 'model.pth'
    write_atomically(STATE, path)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError) as caught:
        write_atomically(dict(STATE, meta={}), path)
    assert caught.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ['model.pth']
    assert read_tensors(path)['meta'] == dict(epoch=1)
