"""How a tool ends where its user or the machine is at fault."""
import errno
import json
import os
import re
import subprocess
import sys

import pytest
from vita_mm import errors
from vita_mm.errors import UserError, cli_errors, printable
from vita_mm.io.files import write_json


def test_control_characters_are_written_as_escapes(capsys):
    hostile = 'no video \x1b]0;owned\x07\x1b[2J\x9b1m\u202e.mp4\rgone\udcff'
    with pytest.raises(SystemExit) as ended, cli_errors():
        raise UserError(hostile)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said == ('error: no video \\x1b]0;owned\\x07\\x1b[2J\\x9b1m\\u202e.mp4\\rgone'
                    '\\udcff\n')
    assert printable('naïve — 視頻\n\t“two” lines') == 'naïve — 視頻\n\t“two” lines'


@pytest.mark.parametrize('number, sentence', [
    (errno.ENOSPC, 'no space, or no inode, is left'), (errno.EDQUOT, 'quota'),
    (errno.EROFS, 'read-only'), (errno.EACCES, 'permission is denied'),
    (errno.EMFILE, 'too many open files')])
def test_what_the_machine_lacks_is_one_sentence(capsys, number, sentence):
    with pytest.raises(SystemExit) as ended, cli_errors():
        raise OSError(number, os.strerror(number), '/data/\x1bplace.json')
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert re.fullmatch(r'error: /data/\\x1bplace.json cannot be .*\n', said)
    assert sentence in said


def test_what_a_library_makes_of_an_interrupt_is_one(capsys):
    """MMEngine, which formats a config, takes all that happens there for a bad one."""
    with pytest.raises(SystemExit) as ended, cli_errors():
        try:
            raise KeyboardInterrupt
        except BaseException:
            raise SyntaxError('check the config')  # noqa: B904
    assert ended.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ConnectionResetError), cli_errors():
        raise ConnectionResetError(errno.ECONNRESET, 'reset')


def test_a_full_disk_is_named_by_the_file_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'state.json'
    write_json(path, dict(runs=1))
    monkeypatch.setattr(os, 'fsync', lambda _: os.write(
        os.open('/dev/full', os.O_WRONLY), b'x'))
    with pytest.raises(OSError) as caught:
        write_json(path, dict(runs=2))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert json.loads(path.read_text()) == dict(runs=1)
    assert [file.name for file in path.parent.iterdir()] == ['state.json']


INTERRUPTED = """
import os, runpy, signal, sys, time
cli_errors = runpy.run_path(sys.argv[1])['cli_errors']

class Falling:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)

signal.signal(signal.SIGTERM, signal.default_int_handler)
with cli_errors():
    try:
        Falling()  # Python drops what is raised in a destructor
        time.sleep(20)
        print('went on')
    finally:
        time.sleep(0.2)
        print('ended well')
"""


def test_interrupt_inside_of_a_destructor_is_not_lost():
    # By its path: vita_mm takes seconds to import.
    ended = subprocess.run([sys.executable, '-c', INTERRUPTED, errors.__file__],
                           capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        130, 'ended well\n', 'interrupted\n')
