"""Cached frames are those of the decoder, of any file; and no fault of a cache shows."""
import errno
import multiprocessing
import os
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from av.error import FFmpegError
from mmengine.config import Config
from vita_mm.data import ClipDataset, DecodeFrames, OpenVideo, frame_cache
from vita_mm.data.dataset import SampleKey
from vita_mm.data.frame_cache import CachedReader, FrameCache, HeldReader
from vita_mm.data.readers import PyAVReader
from vita_mm.engine.runs import build_runner, load_config
from vita_mm.errors import UserError
from world import CLASSES, ROOT, write_video, write_world
from zoo import ZOO, make


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where frames are cached."""
    monkeypatch.setenv('VITA_MM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'frames'


@pytest.fixture
def warned(monkeypatch):
    """The sentences that are said."""
    said = []
    frame_cache.say.cache_clear()
    monkeypatch.setattr(frame_cache, 'print_log', lambda text, *_: said.append(text))
    return said


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp('videos') / 'a.mp4'
    write_video(path, 12, size=32)
    return str(path)


def files_of(folder):
    return sorted(file for file in folder.rglob('*') if len(file.name) == 64)


def all_frames(reader):
    return np.stack(reader.frames(list(range(len(reader)))))


def assert_decoded(reader, path, numbers=None):
    """A reader gives what decoding gives."""
    decoder = PyAVReader(path)
    assert (len(reader), reader.frame_rate) == (len(decoder), decoder.frame_rate)
    numbers = list(range(len(decoder))) if numbers is None else numbers
    for given, expected in zip(reader.frames(numbers), decoder.frames(numbers),
                               strict=True):
        assert given.dtype == expected.dtype == np.uint8
        assert given.flags.c_contiguous and given.flags.writeable
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize('name', ZOO)
def test_cached_frames_are_the_decoded_ones(name, tmp_path, folder):
    path = str(make(name, tmp_path))
    cache = FrameCache({})
    first = cache.reader(path)
    assert isinstance(first, HeldReader)
    assert_decoded(first, path)
    for later in cache, FrameCache({}):  # of this process, and of another one
        second = later.reader(path)
        assert isinstance(second, CachedReader)
        assert_decoded(second, path)
        for size in 1, 3, 8:
            numbers = random.Random(size).sample(range(len(second)), size)
            assert_decoded(second, path, sorted(numbers))


def test_the_pipeline_reads_the_cache(video, folder, monkeypatch):
    def frames():
        results = OpenVideo(cache=True).transform(dict(filename=video))
        assert results['total_frames'] == 12 and results['avg_fps'] == 15
        results['frame_inds'] = np.array([7, 2, 7])
        return DecodeFrames().transform(results)['imgs']

    first = frames()
    monkeypatch.setattr(PyAVReader, '__init__', None)  # nothing is decoded any more
    second = frames()
    assert second[0] is second[2]
    np.testing.assert_array_equal(first, second)
    assert len(files_of(folder)) == 1


@pytest.mark.parametrize('options', [dict(cache='yes'), dict(max_cached=0),
                                     dict(cache=True, decoder='decord')])
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match='OpenVideo'):
        OpenVideo(**options)


def test_a_changed_video_is_another_one(tmp_path, folder):
    path, cache = tmp_path / 'a.mp4', FrameCache({})
    for count in 12, 9:
        write_video(path, count, size=32, colour=count % 3)
        os.utime(path, (1e9, 1e9))  # as if it had not
        assert_decoded(cache.reader(str(path)), str(path))
        assert_decoded(cache.reader(str(path)), str(path))
    assert len(files_of(folder)) == 2


def test_a_video_that_changes_while_it_is_decoded_is_not_kept(tmp_path, video, folder,
                                                              monkeypatch):
    path = tmp_path / 'a.mp4'
    shutil.copy(video, path)
    frames = PyAVReader.frames

    def change(reader, numbers):
        path.write_bytes(path.read_bytes() + b'\0\0\0\x08free')
        return frames(reader, numbers)

    monkeypatch.setattr(PyAVReader, 'frames', change)
    assert len(FrameCache({}).reader(str(path))) == 12
    assert files_of(folder) == []


def test_what_decides_on_frames_decides_on_the_file(video, folder, monkeypatch):
    FrameCache({}).reader(video)
    FrameCache(dict(strict=False)).reader(video)
    monkeypatch.setattr(frame_cache, 'digest_of_code', lambda: 'another readers.py')
    FrameCache({}).reader(video)
    monkeypatch.setattr(frame_cache.av, '__version__', '0')
    FrameCache({}).reader(video)
    assert len(files_of(folder)) == 4


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]


DAMAGES = dict(
    empty=lambda content: b'', cut=lambda content: content[:-1],
    longer=lambda content: content + b'\0', zeros=lambda content: bytes(len(content)),
    head_only=lambda content: content[:20],
    magic=lambda content: flip(content, 0), digest=lambda content: flip(content, 9),
    rate=lambda content: flip(content, 42), sums=lambda content: flip(content, 70),
    # More frames of less height: of the same size in all.
    shape=lambda content: content[:48] + bytes(
        np.array([6, 64, 32], '<u4')) + content[60:],
    huge=lambda content: content[:48] + b'\xff' * 12 + content[60:],
    frame=lambda content: flip(content, len(content) - 1))


@pytest.mark.parametrize('damage', DAMAGES)
def test_damage_is_noticed_and_mended(video, folder, damage):
    FrameCache({}).reader(video)
    file, = files_of(folder)
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert_decoded(FrameCache({}).reader(video), video)
    assert file.read_bytes() == whole
    assert isinstance(FrameCache({}).reader(video), CachedReader)


def test_a_file_of_another_video_is_not_taken(tmp_path, video, folder):
    other = tmp_path / 'b.mp4'
    write_video(other, 12, size=32, colour=1)
    FrameCache({}).reader(video)
    file, = files_of(folder)
    FrameCache({}).reader(str(other))
    another, = set(files_of(folder)) - {file}
    shutil.copy(another, file)
    assert_decoded(FrameCache({}).reader(video), video)


def fail(error):
    def function(*_, **__):
        raise OSError(error, os.strerror(error))
    return function


@pytest.mark.parametrize('name, change, sentence', [
    ('replacing', fail(errno.ENOSPC), 'no space, or no inode, is left on the disk'),
    ('RESERVE', 2**60, 'make room'),
    ('size_of', lambda folder: frame_cache.MAX_CACHED, 'has reached max_cached'),
])
def test_a_full_disk_or_cache_is_one_sentence(tmp_path, video, folder, warned, name,
                                              change, sentence, monkeypatch):
    monkeypatch.setattr(frame_cache, name, change)
    other = tmp_path / 'b.mp4'
    write_video(other, 12, size=32, colour=1)
    cache = FrameCache({})
    for path in (video, str(other)) * 2:
        assert_decoded(cache.reader(path), path)
    assert_decoded(FrameCache({}).reader(video), video)  # of another pipeline
    assert len(warned) == 1 and sentence in warned[0]
    assert files_of(folder) == []


def test_max_cached_bounds_the_files(video, tmp_path, folder, warned):
    one = 12 * (32 * 32 * 3 + 4) + frame_cache.HEAD.size + 4
    cache = FrameCache({}, 2 * one)
    for colour in range(3):
        path = tmp_path / f'{colour}.mp4'
        write_video(path, 12, size=32, colour=colour)
        assert_decoded(cache.reader(str(path)), str(path))
    assert frame_cache.size_of(folder) == 2 * one
    assert len(warned) == 1 and f'max_cached={2 * one}' in warned[0]


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, video, warned, monkeypatch):
    (tmp_path / 'cache').write_text('a file')
    monkeypatch.setenv('VITA_MM_CACHE', str(tmp_path / 'cache'))
    cache = FrameCache({})
    assert_decoded(cache.reader(video), video)
    assert_decoded(cache.reader(video), video)
    assert len(warned) == 1


def test_what_is_too_large_or_damaged_is_decoded(tmp_path, video, folder, warned):
    cache = FrameCache(dict(max_held=12 * 32 * 32 * 3 - 1))
    for _ in range(2):
        assert isinstance(cache.reader(video), PyAVReader)
    broken = tmp_path / 'broken.mp4'
    write_video(broken, 40, size=64)
    content = bytearray(broken.read_bytes())
    middle = content.index(b'mdat') + (len(content) - content.index(b'mdat')) // 2
    content[middle:middle + 30] = bytes(30)
    broken.write_bytes(content)
    cache = FrameCache({})
    with pytest.raises((FFmpegError, ValueError)):
        all_frames(PyAVReader(str(broken)))
    for _ in range(2):  # its first frame is in order, and to be had as without a cache
        reader = cache.reader(str(broken))
        assert_decoded(reader, str(broken), [0])
        with pytest.raises((FFmpegError, ValueError)):
            all_frames(reader)
    assert files_of(folder) == [] and not warned


@pytest.mark.parametrize('content', [None, b'', b'no video'])
def test_unreadable_videos_fail_as_without_a_cache(tmp_path, folder, content):
    path = tmp_path / 'a.mp4'
    if content is not None:
        path.write_bytes(content)
    faults = []
    for cache in False, True:
        with pytest.raises((FFmpegError, OSError, ValueError)) as caught:
            OpenVideo(cache=cache)(dict(filename=str(path)))
        faults.append((caught.type, str(caught.value)))
    assert faults[0] == faults[1]


PIPELINE = [dict(type='SampleFrames', clip_len=4, frame_interval=2),
            dict(type='DecodeFrames'),
            dict(type='RandomResizedCrop'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs')]


@pytest.mark.parametrize('test_mode', [False, True])
def test_what_stands_in_is_the_same_with_a_cache(tmp_path, folder, test_mode):
    for index in 0, 1, 2, 3:
        write_video(tmp_path / f'{index}.mp4', 10 + index, size=32, colour=index % 3)
    (tmp_path / '1.mp4').write_text('no video')
    (tmp_path / '2.mp4').unlink()
    (tmp_path / 'list.txt').write_text(
        ''.join(f'{index}.mp4 {index % 3}\n' for index in range(4)))
    plain, cached = (ClipDataset(
        str(tmp_path / 'list.txt'), [dict(type='OpenVideo', cache=cache), *PIPELINE],
        classes=CLASSES, data_prefix=dict(video=str(tmp_path)), test_mode=test_mode)
        for cache in (False, True))
    for epoch in range(3):
        for index in range(4):
            key = SampleKey(index, epoch, seed=1)
            expected, given = plain.prepare_data(key), cached.prepare_data(key)
            assert torch.equal(expected['inputs'], given['inputs'])
            fields = [dict(sample['data_samples'].items())
                      for sample in (expected, given)]
            assert repr(fields[0]) == repr(fields[1])
    assert len(files_of(folder)) == 2


def test_trainings_give_the_same_weights_with_a_cache(tmp_path, folder, monkeypatch):
    """Without one, while it is filled, and out of it, where nothing is decoded."""
    world = write_world(tmp_path, num_train=8, num_val=3)
    weights = {}
    for name in 'plain', 'filling', 'cached':
        if name == 'cached':
            monkeypatch.setattr(PyAVReader, '__init__', None)
        config = load_config(world)
        config.work_dir, config.experiment_name = str(tmp_path / name), name
        config.visualizer.vis_backends = []
        config.train_cfg.max_epochs = 2
        config.train_dataloader.batch_size = 4
        config.default_hooks.checkpoint = None
        for part in 'train', 'val', 'test':
            loader = config[f'{part}_dataloader']
            loader.num_workers = 0
            loader.dataset.pipeline[0].cache = name != 'plain'
        runner = build_runner(config)
        runner.train()
        weights[name] = {key: value.clone()
                         for key, value in runner.model.state_dict().items()}
    assert len(files_of(folder)) == 8  # those for validation hold the same
    for name in 'filling', 'cached':
        assert weights[name].keys() == weights['plain'].keys()
        for key, value in weights['plain'].items():
            assert torch.equal(value, weights[name][key]), (name, key)


def read_all(paths, start):
    start.wait()
    cache = FrameCache({})
    for path in paths:
        all_frames(cache.reader(path))


def test_processes_may_fill_it_at_once(tmp_path, folder):
    paths = [str(tmp_path / f'{number}.mp4') for number in range(6)]
    for number, path in enumerate(paths):
        write_video(Path(path), 5 + number, size=32)
    context = multiprocessing.get_context('fork')
    start = context.Event()
    with warnings.catch_warnings():  # of threads, in a process that forks
        warnings.simplefilter('ignore')
        readers = [context.Process(target=read_all, args=(paths, start))
                   for _ in range(3)]
        for process in readers:
            process.start()
    start.set()
    for process in readers:
        process.join(60)
        assert process.exitcode == 0
    assert len(files_of(folder)) == 6
    assert not [file for file in folder.rglob('*.part')]
    for path in paths:
        assert isinstance(reader := FrameCache({}).reader(path), CachedReader)
        assert_decoded(reader, path)


def test_the_configs_of_the_miniature_cache_their_frames():
    for name in 'vita_mini', 'vita_mini_motion', 'zero_shot/mini_k600', 'vita_k400':
        config = Config.fromfile(ROOT / f'configs/{name}.py')
        for part in 'train', 'val', 'test':
            loader = config.get(f'{part}_dataloader')
            if loader is not None:
                first = loader.dataset.pipeline[0]
                assert first.get('cache', False) is ('mini' in name), (name, part)
