"""tools/check_dataset.py, with real files and with decoders that hang and crash."""
import errno
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import av
import pytest
from mmengine.config import Config
from test_bad_input import empty, text_file, truncated
from vita_mm.cli.check import show
from vita_mm.data import ClipDataset, check
from vita_mm.data.check import OPEN_VIDEO, check_dataset, find_datasets
from vita_mm.errors import UserError, cli_errors
from vita_mm.tracking.probes import digest_dataset
from world import CLASSES, run, write_video

READ = [dict(type='OpenVideo'),
        dict(type='SampleFrames', clip_len=8, frame_interval=4),  # spans 29 frames
        dict(type='DecodeFrames')]

# Opens videos like open_video.py, writes down which, and has decoders with faults.
HOSTILE = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(OPEN_VIDEO[-1]).parent)!r})
import open_video
count_frames = open_video.count_frames

def hostile(path, full):
    with open({{log!r}}, 'a') as log:
        log.write(f'{{{{os.getpid()}}}} {{{{os.path.basename(path)}}}}\\n')
    if 'hang' in path:
        time.sleep(1000)
    if 'crash' in path:
        os.kill(os.getpid(), signal.SIGSEGV)
    return count_frames(path, full)

open_video.count_frames = hostile
open_video.main()
"""


class Decoders:
    """The command of hostile decoders, and what they have opened."""

    def __init__(self, folder):
        self.log = folder / 'opened.log'
        script = folder / 'hostile.py'
        script.write_text(HOSTILE.format(log=str(self.log)))
        self.command = (sys.executable, str(script))

    def opened(self):
        """Names of the videos opened since the last call."""
        names = [line.split()[1] for line in self.log.read_text().splitlines()]
        self.log.write_text('')
        return sorted(names)

    def running(self):
        """Processes that are still there."""
        return [pid for pid in {line.split()[0]
                                for line in self.log.read_text().splitlines()}
                if process_state(pid) not in ('gone', 'Z')]  # Z: only its exit code is


def process_state(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return 'gone'


@pytest.fixture
def decoders(tmp_path):
    return Decoders(tmp_path)


@pytest.fixture
def make_dataset(tmp_path):
    """Function: a dataset of the videos named, which are written unless they exist."""

    def make(*names, ann_file='list.txt', pipeline=READ):
        for name in names:
            if not (tmp_path / name).exists() and 'gone' not in name:
                write_video(tmp_path / name, num_frames=40)
        (tmp_path / ann_file).write_text(''.join(f'{name} 0\n' for name in names))
        return ClipDataset(str(tmp_path / ann_file), pipeline, classes=CLASSES,
                           data_prefix=dict(video=str(tmp_path)))

    return make


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def count_lines(path):
    return path.read_bytes().count(b'\n') if path.exists() else 0


def faults(report):
    return {os.path.basename(fault['path']): fault['fault']
            for fault in report['faults']}


def test_every_fault_is_told_and_no_decoder_stops_the_others(
        tmp_path, make_dataset, decoders):
    empty(tmp_path / 'empty.mp4')
    truncated(tmp_path / 'truncated.mp4')
    text_file(tmp_path / 'text.mp4')
    write_video(tmp_path / 'short.mp4', num_frames=28)
    write_video(tmp_path / 'enough.mp4', num_frames=29)
    names = ['hang1.mp4', 'crash1.mp4', 'a.mp4', 'gone.mp4', 'hang2.mp4', 'empty.mp4',
             'truncated.mp4', 'crash2.mp4', 'text.mp4', 'short.mp4', 'enough.mp4',
             'b.mp4']
    dataset = make_dataset(*names)
    report = check_dataset(dataset, workers=2, timeout=1.5, command=decoders.command)

    expected = {
        'hang1.mp4': 'hangs', 'crash1.mp4': 'crashes', 'gone.mp4': 'missing',
        'hang2.mp4': 'hangs', 'empty.mp4': 'empty', 'truncated.mp4': 'broken',
        'crash2.mp4': 'crashes', 'text.mp4': 'broken'}
    assert list(faults(report).items()) == list(expected.items())  # in order
    assert {key: report[key] for key in (
        'videos', 'readable', 'missing', 'empty', 'broken', 'hangs', 'crashes', 'short',
        'full')} == dict(videos=12, readable=4, missing=1, empty=1, broken=2, hangs=2,
                         crashes=2, short=1, full=False)
    assert report['short_videos'] == [str(tmp_path / 'short.mp4')]
    assert report['annotations'] == [str(tmp_path / 'list.txt')]
    assert report['digest'] == digest_dataset(dataset)
    assert json.loads((tmp_path / 'list.txt.check.json').read_text()) == report
    reasons = {fault['fault']: fault['reason'] for fault in report['faults']}
    assert 'SIGSEGV' in reasons['crashes'] and '1.5 s' in reasons['hangs']
    assert all(0 < len(reason.splitlines()[0]) <= 200 and '\n' not in reason
               for reason in reasons.values())
    assert not decoders.running()


def test_a_second_check_opens_what_changed_and_what_had_faults(
        tmp_path, make_dataset, decoders):
    text_file(tmp_path / 'text.mp4')
    dataset = make_dataset('a.mp4', 'b.mp4', 'text.mp4', 'crash.mp4')

    def opened(full=False):
        report = check_dataset(dataset, full, 1, command=decoders.command)
        assert (report['readable'], report['full']) == (2, full)
        return decoders.opened()

    everything = ['a.mp4', 'b.mp4', 'crash.mp4', 'text.mp4']
    assert opened() == everything
    assert opened() == ['crash.mp4', 'text.mp4']
    os.utime(tmp_path / 'b.mp4', ns=(0, 10**18))
    assert opened() == ['b.mp4', 'crash.mp4', 'text.mp4']
    assert opened(full=True) == everything
    assert opened(full=True) == ['crash.mp4', 'text.mp4']
    assert opened() == ['crash.mp4', 'text.mp4']

    journal = tmp_path / 'list.txt.check.jsonl'
    lines = journal.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if b'a.mp4' in line]
    rest = [line for line in lines if b'a.mp4' not in line]
    journal.write_bytes(b''.join(rest) + whole[-1][:-30])  # a torn line
    assert opened() == ['a.mp4', 'crash.mp4', 'text.mp4']
    assert opened() == ['crash.mp4', 'text.mp4']


def test_a_full_check_finds_damage_between_the_frames(tmp_path, make_dataset):
    write_video(tmp_path / 'damaged.mp4', num_frames=300)
    content = bytearray((tmp_path / 'damaged.mp4').read_bytes())
    with av.open(str(tmp_path / 'damaged.mp4')) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[190:200]:
        content[packet.pos:packet.pos + packet.size] = b'\xff' * packet.size
    (tmp_path / 'damaged.mp4').write_bytes(content)
    dataset = make_dataset('whole.mp4', 'damaged.mp4')
    assert faults(check_dataset(dataset, workers=1)) == {}
    report = check_dataset(dataset, full=True, workers=1)
    assert faults(report) == {'damaged.mp4': 'broken'} and report['full']


@pytest.mark.parametrize('number, exit_code', [
    (signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_check_that_is_stopped_goes_on_and_leaves_no_process(
        tmp_path, make_dataset, decoders, number, exit_code):
    dataset = make_dataset('a.mp4', 'b.mp4', 'c.mp4', 'hang.mp4', 'd.mp4')

    def check():
        # Under nohup or in the background tests are started with it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with cli_errors():
            check_dataset(dataset, workers=1, command=decoders.command)

    process = multiprocessing.get_context('fork').Process(target=check)
    process.start()
    wait_until(lambda: decoders.log.exists() and 'hang' in decoders.log.read_text())
    assert decoders.running()
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == exit_code
    wait_until(lambda: not decoders.running())
    assert count_lines(tmp_path / 'list.txt.check.jsonl') == 3
    assert decoders.opened() == ['a.mp4', 'b.mp4', 'c.mp4', 'hang.mp4']

    report = check_dataset(dataset, workers=1, timeout=1, command=decoders.command)
    assert decoders.opened() == ['d.mp4', 'hang.mp4']
    assert faults(report) == {'hang.mp4': 'hangs'} and report['readable'] == 4


def test_of_several_annotation_files_a_video_is_opened_once(tmp_path, make_dataset):
    make_dataset('a.mp4', 'b.mp4', ann_file='one.txt')
    make_dataset('b.mp4', 'c.mp4', ann_file='two.txt')
    files = [str(tmp_path / name) for name in ('one.txt', 'two.txt')]
    dataset = ClipDataset(
        files, [dict(type='UniformSample', clip_len=41)], classes=CLASSES,
        data_prefix=dict(video=str(tmp_path)))
    report = check_dataset(dataset, workers=1)
    assert (report['videos'], report['readable'], report['short']) == (3, 3, 3)
    assert report['annotations'] == files
    assert (tmp_path / 'one.txt+two.txt.check.json').exists()


def test_reports_go_where_they_can_be_written(tmp_path, make_dataset, monkeypatch,
                                              capsys):
    """Also as root, who may write anywhere: where there should be a folder is a file."""
    dataset = make_dataset('a.mp4')
    (tmp_path / 'no_folder').touch()
    with pytest.raises(UserError, match='cannot write the report .*--out DIR'):
        check_dataset(dataset, workers=1, out=str(tmp_path / 'no_folder'))
    report = check_dataset(dataset, workers=1, out=str(tmp_path / 'new' / 'folder'))
    assert report['file'] == str(tmp_path / 'new' / 'folder' / 'list.txt.check.json')
    assert json.loads(Path(report['file']).read_text()) == report
    assert not (tmp_path / 'list.txt.check.jsonl').exists()

    opened = []

    def probe(place):
        opened.append(place)
        if place == str(tmp_path / 'list.txt'):
            raise OSError(errno.EROFS, 'Read-only file system')
        real(place)

    real = check.probe
    monkeypatch.setattr(check, 'probe', probe)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    report = check_dataset(dataset, workers=1)
    folder, = Path('work_dirs/check').iterdir()
    assert folder.name.startswith('list.txt-')
    assert report['file'] == str(folder / 'list.txt.check.json')
    assert sorted(path.name for path in folder.iterdir()) == [
        'list.txt.check.json', 'list.txt.check.jsonl']
    assert f'{tmp_path} cannot be written: the report goes to {folder}' in (
        capsys.readouterr().out)


def test_lenience_is_asked_for_and_remembered(tmp_path, make_dataset, decoders):
    """What was read leniently is read again by a strict check, which is the default."""
    script = Path(decoders.command[1])
    script.write_text(script.read_text().replace(
        'open_video.main()', """
open_video.answer = lambda path, full, strict=True: (
    hostile(path, full) and dict(frames=40) if not strict else
    hostile(path, full) and dict(fault='broken', reason='strictly'))
open_video.main()"""))
    dataset = make_dataset('a.mp4')
    for lenient, fault, opened in ((True, {}, 1), (True, {}, 0),
                                   (False, {'a.mp4': 'broken'}, 1), (False, None, 1)):
        report = check_dataset(dataset, workers=1, command=decoders.command,
                               lenient=lenient)
        assert fault is None or faults(report) == fault
        assert report['lenient'] == lenient
        assert len(decoders.opened()) == opened


def test_lines_that_are_no_records_are_passed_over(tmp_path, make_dataset):
    dataset = make_dataset('a.mp4')
    journal = tmp_path / 'list.txt.check.jsonl'
    journal.write_text('{}\n[]\n7\n{"path": []}\nnull\n"text"\n\n' + '[' * 9999 + '\n')
    assert check_dataset(dataset, workers=1)['readable'] == 1


def test_a_command_that_does_not_start_is_no_fault_of_the_videos(make_dataset):
    with pytest.raises(UserError, match='does not start'):
        check_dataset(make_dataset('a.mp4'), command=(sys.executable, '-c', ''))


def loader(folder, ann_file):
    return dict(dataset=dict(
        type='ClipDataset', ann_file=str(folder / ann_file), classes=CLASSES,
        pipeline=READ, data_prefix=dict(video=str(folder))))


def test_datasets_of_a_config(tmp_path, make_dataset):
    for name in ('train.txt', 'val.txt'):
        make_dataset('a.mp4', ann_file=name)
    train = dict(dataset=dict(type='RepeatDataset', times=2,
                              **loader(tmp_path, 'train.txt')))
    config = Config(dict(
        train_dataloader=train, val_dataloader=loader(tmp_path, 'val.txt'),
        test_dataloader=loader(tmp_path, 'val.txt')))
    found = find_datasets(config, ['train', 'val', 'test'])
    assert [os.path.basename(dataset.ann_file) for dataset in found] == [
        'train.txt', 'val.txt']
    with pytest.raises(UserError, match='has no dataset for test'):
        find_datasets(Config(dict(train_dataloader=train)), ['test'])
    with pytest.raises(UserError, match='nowhere.txt'):
        find_datasets(Config(dict(val_dataloader=loader(tmp_path, 'nowhere.txt'))),
                      ['val'])
    with pytest.raises(UserError, match='val_dataloader does not build'):
        find_datasets(Config(dict(val_dataloader=dict(dataset=dict(type='No')))),
                      ['val'])


def test_the_tool_prints_no_control_characters(capsys):
    counts = dict.fromkeys(('videos', 'readable', 'short', *check.FAULTS), 1)
    show(dict(counts, annotations=['list\x1b]0;.txt'], file='\x1bc.json', faults=[
        dict(path='a\x1b[2J.mp4', fault='broken', reason='\x9b')]))
    said = capsys.readouterr().out
    assert 'a\\x1b[2J.mp4: broken (\\x9b)' in said
    assert '\x1b]' not in said and '\x1bc' not in said and '\x9b' not in said


def test_the_tool_says_what_it_found(tmp_path, make_dataset):
    make_dataset('a.mp4', 'gone.mp4', ann_file='train.txt')
    make_dataset('a.mp4', ann_file='val.txt')
    config = tmp_path / 'config.py'
    config.write_text(f"""
custom_imports = dict(imports=['vita_mm'])
train_dataloader = {loader(tmp_path, 'train.txt')}
val_dataloader = {loader(tmp_path, 'val.txt')}
test_dataloader = val_dataloader
""")
    done = run('tools/check_dataset.py', config, '--workers', 1, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert f'{tmp_path}/gone.mp4: missing' in done.stdout
    assert len(done.stdout.splitlines()) < 40
    reports = [json.loads((tmp_path / f'{name}.txt.check.json').read_text())
               for name in ('train', 'val')]
    assert [report['readable'] for report in reports] == [1, 1]
    done = run('tools/check_dataset.py', config, '--parts', 'val', '--cfg-options',
               'val_dataloader.dataset.ann_file=nowhere.txt', cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.strip().splitlines()[-1].startswith(
        'error: cannot read the annotation file nowhere.txt')
