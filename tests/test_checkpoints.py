"""Checkpoints are untrusted input: what is read of them, and how much."""
import errno
import os
import sys
import zipfile
from types import ModuleType

import pytest
import torch
from conftest import Payload
from vita_mm.errors import UserError
from vita_mm.io.checkpoints import find_checkpoint, read_tensors, write_atomically
from vita_mm.io.foreign import Settings, read_foreign

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
    def write(**more):
        node = CfgNode(DATA=CfgNode(FRAMES=8, NAMES=('a', 'b')))
        node.__dict__.update(__immutable__=False, __deprecated_keys__={'OLD'})
        torch.save(dict(STATE, config=node, **more), tmp_path / 'settings.pth')
        return tmp_path / 'settings.pth'
    return write


def test_settings_of_yacs_are_read_as_dictionaries(with_settings):
    path = with_settings()
    with pytest.raises(UserError, match='more than tensors'):
        read_tensors(path)
    found = read_foreign(path)
    assert same(found) and found['config'] == dict(DATA=dict(FRAMES=8, NAMES=('a', 'b')))
    assert type(found['config']) is Settings
    torch.save(STATE, path.parent / 'plain.pth')
    assert same(read_foreign(path.parent / 'plain.pth'))


def test_nothing_beside_settings_of_yacs_is_run(with_settings, tmp_path):
    path = with_settings(code=Payload(tmp_path / 'executed'))
    with pytest.raises(UserError, match='settings of yacs .it asks for '):
        read_foreign(path)
    assert not (tmp_path / 'executed').exists()
    path = with_settings(zeros=torch.zeros(10_000))
    repack(path, tmp_path / 'packed.pth')
    with zipfile.ZipFile(path, 'a') as archive:  # as TorchScript, which is compiled
        archive.writestr('settings/constants.pkl', b'')
    with pytest.raises(UserError, match='settings.pth is not'):
        read_foreign(path)
    with pytest.raises(UserError, match='packed.pth is not loaded: its '):
        read_foreign(tmp_path / 'packed.pth')


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
