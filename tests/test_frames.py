"""Frame i is the i-th picture that plain decoding shows, of any file: see zoo.py."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from vita_mm.data import OpenVideo
from vita_mm.data.check import OPEN_VIDEO
from vita_mm.data.readers import DecordReader, PyAVReader, turn_of
from vita_mm.errors import UserError
from vita_mm.prepare.resize import resize_video
from zoo import FRAMES, ZOO, film, make, number_of

FFMPEG = shutil.which('ffmpeg')
# Whose frames are found by their time stamps; all others are decoded from the start.
TIMED = {
    'h264.mp4', 'one_key.mp4', 'open.mp4', 'pyramid.mp4', 'no_b.mp4', 'all_key.mp4',
    'intra_refresh.mp4', 'lossless.mp4', 'ten_bits.mp4', 'uneven.mp4', 'late.mp4',
    'fragments.mp4', 'moov_first.mp4', 'no_sync_table.mp4', 'edit_list.mp4',
    'no_middle.mp4', 'hevc.mp4', 'hevc_open.mp4', 'vp9.mp4', 'av1.mp4', 'h264.mov',
    'two.mp4', 'cover.mp4', 'turned90.mp4', 'turned180.mp4', 'turned-90.mp4',
    'mirrored.mp4', 'turned_mirrored.mp4', 'h264.mkv', 'open.mkv', 'no_middle.mkv',
    'two.mkv', 'two_default.mkv', 'turned90.mkv', 'vp8.webm', 'vp8_cut.webm',
    'vp8_hidden.webm', 'vp9.webm', 'av1.webm'}
# ffmpeg's own conversion differs from PyAV's in these.
OTHER_COLOURS = {'interlaced.mp4', 'ten_bits.mp4', 'sizes.h264', 'sizes.ts',
                 'sizes.mjpeg'}
# By which of the streams of a size is the one to be shown.
WIDTHS = {'two.mp4': 32, 'two.mkv': 64, 'two_default.mkv': 32, 'cover.mp4': 64}
TURNS = {
    'turned90': np.rot90, 'turned180': lambda picture: picture[::-1, ::-1],
    'turned-90': lambda picture: np.rot90(picture, -1), 'mirrored': np.fliplr,
    'turned_mirrored': lambda picture: np.fliplr(np.rot90(picture))}


def plain(path):
    """All pictures from the start, those of the size of the first, turned.

    What cannot be decoded is left out, as ffmpeg does.
    """
    pictures, turn = [], TURNS.get(path.stem, np.asarray)
    with av.open(str(path)) as container:
        stream, = (stream for stream in container.streams.video
                   if stream.width == WIDTHS.get(path.name, stream.width))
        stream.thread_type = 'NONE'
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if not pictures:
                    size = frame.width, frame.height
                pictures.append(turn(
                    frame.reformat(*size, format='rgb24').to_ndarray()))
    return pictures


def by_ffmpeg(path, shape):
    """The pictures that the command shows."""
    done = subprocess.run(
        [FFMPEG, '-v', 'error', '-i', str(path), '-fps_mode', 'passthrough', '-f',
         'rawvideo', '-pix_fmt', 'rgb24', '-'], capture_output=True)
    if b'fps_mode' in done.stderr:
        pytest.skip('this ffmpeg is older than 5.1')
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, *shape)


def assert_frames(reader, expected, numbers):
    given = reader.frames(numbers)
    assert len(given) == len(numbers)
    for number, frame in zip(numbers, given):
        assert np.array_equal(frame, expected[number]), number


@pytest.fixture(scope='module')
def specimen(tmp_path_factory):
    """Function: the path of a video of the zoo and its pictures."""
    folder, made = tmp_path_factory.mktemp('zoo'), {}

    def get(name):
        if name not in made:
            path = make(name, folder)
            made[name] = path, plain(path)
        return made[name]

    return get


@pytest.mark.parametrize('name', ZOO)
def test_frames_are_those_of_plain_decoding(specimen, name):
    path, expected = specimen(name)
    reader = PyAVReader(str(path))
    count = len(reader)
    assert count == len(expected) > FRAMES // 3
    assert (reader.times is not None) == (name in TIMED)
    for number in range(count):
        assert_frames(reader, expected, [number])
    generator = np.random.default_rng(0)
    chosen = [sorted(generator.choice(count, size, replace=False).tolist())
              for size in (2, 4, 4, 8)] + [list(range(count))]
    for numbers in chosen:
        assert_frames(reader, expected, numbers)
    reader.check()  # an intact file is not taken for a damaged one
    for options in dict(strict=False), dict(max_held=1):  # nor does an option change it
        other = PyAVReader(str(path), **options)
        assert len(other) == count
        for numbers in chosen[1:3]:
            assert_frames(other, expected, numbers)


@pytest.mark.skipif(not FFMPEG, reason='needs ffmpeg')
@pytest.mark.parametrize('name', ZOO)
def test_frames_are_those_of_ffmpeg(specimen, name):
    path, expected = specimen(name)
    reader = PyAVReader(str(path))
    given = reader.frames(list(range(len(reader))))
    theirs = by_ffmpeg(path, given[0].shape)
    assert len(theirs) == len(given)
    assert [number_of(frame) for frame in theirs] == [number_of(frame) for frame in given]
    # Other versions may round otherwise.
    limit = 3 if name in OTHER_COLOURS else 1
    assert np.abs(theirs.astype(int) - np.stack(given)).mean() < limit


def test_the_zoo_shows_its_numbers(specimen):
    """Else all of the above might compare the wrong thing with itself."""
    assert len(ZOO) >= 40
    for name in ('h264.mp4', 'packed_divx.avi', 'open.mkv', 'vp8.webm', 'h264.ts'):
        assert [number_of(frame) for frame in specimen(name)[1]] == list(range(FRAMES))
    assert [number_of(frame) for frame in specimen('open_cut.mkv')[1]] == list(
        range(10, FRAMES))
    path, _ = specimen('vp8_hidden.webm')
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert len(packets) == FRAMES > len(specimen('vp8_hidden.webm')[1])


# What a file may not be


def truncate(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 9 // 10])


@pytest.mark.parametrize('name', ['h264.mp4', 'moov_first.mp4', 'fragments.mp4',
                                  'h264.mov', 'h264.mkv', 'vp9.webm', 'mpeg4.avi',
                                  'packed_divx.avi'])
def test_a_file_whose_end_is_missing_is_refused(tmp_path, name):
    path = make(name, tmp_path)
    truncate(path)
    with pytest.raises(ValueError, match='its end is missing'):
        PyAVReader(str(path))
    # Of some FFmpeg makes what there is.
    if name in ('moov_first.mp4', 'h264.mkv', 'vp9.webm', 'mpeg4.avi'):
        expected, reader = plain(path), PyAVReader(str(path), strict=False)
        assert 0 < len(expected) <= FRAMES
        assert_frames(reader, expected, list(range(len(expected))))


@pytest.mark.parametrize('reader', [PyAVReader, DecordReader])
def test_what_is_no_file_is_refused_at_once(tmp_path, reader):
    os.mkfifo(tmp_path / 'fifo.mp4')
    (tmp_path / 'link.mp4').symlink_to('fifo.mp4')
    (tmp_path / 'folder.mp4').mkdir()
    for path in 'fifo.mp4', 'link.mp4', 'folder.mp4', '/dev/zero':
        with pytest.raises(ValueError, match='not a regular file'):
            reader(str(tmp_path / path))
    with pytest.raises(FileNotFoundError):
        reader(str(tmp_path / 'none.mp4'))


@pytest.mark.parametrize('content', [
    'ffconcat version 1.0\nfile other.mp4\n',
    '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n',
    'A text that FFmpeg would draw.\n' * 40])
@pytest.mark.parametrize('suffix', ['mp4', 'txt', 'm3u8'])
def test_a_list_of_other_files_is_not_followed(tmp_path, monkeypatch, content, suffix):
    film(tmp_path / 'other.mp4')
    (tmp_path / f'list.{suffix}').write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, av.FFmpegError)):
        PyAVReader(f'list.{suffix}')
    # A pattern of names is a name.
    film(tmp_path / '1.png', 'png', frames=1, pix_fmt='rgb24', form='image2')
    with pytest.raises(FileNotFoundError):
        PyAVReader('%d.png')


@pytest.mark.parametrize('name', ['a:b.mp4', 'http:c.mp4', 'concat:d|e.mp4', '-f.mp4',
                                  'two\nlines.mp4', 'line\u2028end.mp4', b'\xff\xd3.mp4'])
def test_any_name_will_do(tmp_path, monkeypatch, name):
    film(tmp_path / 'a.mp4')
    os.rename(tmp_path / 'a.mp4', os.path.join(os.fsencode(tmp_path), os.fsencode(name)))
    monkeypatch.chdir(tmp_path)
    assert number_of(PyAVReader(os.fsdecode(name)).frames([7])[0]) == 7


@pytest.mark.parametrize('suffix', ['avi', 'mp4', 'mkv'])
def test_metadata_of_any_encoding(tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    with av.open(str(path), 'w') as container:
        container.metadata['title'] = 'TITLE-TO-REPLACE'
        stream = container.add_stream('mpeg4', rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = 'yuv420p'
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, 'yuv420p')))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b'TITLE-TO-REPLACE',
                                               b'\x83e' * 7 + b'\xd3\xff'))
    assert b'\xd3\xff' in path.read_bytes()
    assert len(PyAVReader(str(path)).frames([0, 4])) == 2
    assert resize_video(path, tmp_path / 'small.mp4', 32) is None


# Limits


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    film(tmp_path / 'a.mp4', frames=1, size=4224, width=8448, preset='ultrafast')
    for strict in True, False:
        with pytest.raises(ValueError, match='8448x4224 have more pixels than'):
            PyAVReader(str(tmp_path / 'a.mp4'), strict=strict)
    assert len(PyAVReader(str(tmp_path / 'a.mp4'), max_pixels=8448 * 4224)) == 1


@pytest.mark.parametrize('name', ['sizes.h264', 'sizes.ts', 'sizes.mjpeg'])
def test_pictures_that_grow_are_refused(specimen, name):
    for strict in True, False:
        with pytest.raises(ValueError, match='96x96 have more pixels than max_pixels'):
            PyAVReader(str(specimen(name)[0]), strict=strict, max_pixels=64 * 64)
    assert len(PyAVReader(str(specimen(name)[0]), max_pixels=96 * 96)) > 15


@pytest.mark.parametrize('name', ['h264.mp4', 'packed_divx.avi'])
def test_no_more_is_held_than_allowed(specimen, name):
    path, _ = specimen(name)
    assert PyAVReader(str(path), max_held=2**20).held
    assert PyAVReader(str(path), max_held=500).held is None


@pytest.mark.parametrize('options, sentence', [
    (dict(strict=1), 'strict must be True or False, not 1'),
    (dict(max_pixels=0), 'max_pixels must be a whole number of at least 1, not 0'),
    (dict(max_held=True), 'max_held must be a whole number'),
    (dict(crop=3), "decoder='pyav' has no option crop; it has strict, max_pixels, max_h"),
    (dict(decoder='decord', strict=True), "decoder='decord' has no option strict")])
def test_options_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        OpenVideo(**options)


# Damage


def damaged(path, target, packets=range(12, 15)):
    """A copy in which the middle of some packets is overwritten."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
    for packet in (found[place] for place in packets):
        middle = packet.pos + packet.size // 2
        content[middle:packet.pos + packet.size] = b'\xff' * (
            packet.pos + packet.size - middle)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize('name', ['h264.mp4', 'hevc.mp4', 'h264.mkv', 'mpeg4.avi',
                                  'packed_divx.avi'])
def test_damage_is_refused_unless_it_is_allowed(specimen, tmp_path, name):
    path = damaged(specimen(name)[0], tmp_path / name)
    with pytest.raises((ValueError, av.FFmpegError)):
        reader = PyAVReader(str(path))
        reader.frames(list(range(len(reader))))
    expected, reader = plain(path), PyAVReader(str(path), strict=False)
    assert len(reader) == len(expected)
    assert_frames(reader, expected, list(range(len(expected))))
    # So do the transform, the check and the resize.
    results = OpenVideo(strict=False)(dict(filename=str(path)))
    assert not results['video_reader'].video.strict
    for strict, found in (True, 'fault'), (False, 'frames'):
        request = dict(path=str(path), full=True, strict=strict)
        answer = subprocess.run(
            OPEN_VIDEO, input=json.dumps(request) + '\n',
            capture_output=True, text=True).stdout.splitlines()[-1]
        assert found in json.loads(answer), answer
        assert (resize_video(path, tmp_path / 'copy.mp4', 32, strict) is None) != strict


# The display matrix


@pytest.mark.parametrize('name', [name for name in ZOO if name.split('.')[0] in TURNS])
def test_a_resized_copy_is_turned_for_good(specimen, tmp_path, name):
    path, expected = specimen(name)
    assert resize_video(path, tmp_path / 'copy.mp4', 64) is None
    with av.open(str(tmp_path / 'copy.mp4')) as container:
        copies = list(container.decode(video=0))
    assert len(copies) == len(expected) and turn_of(copies[0]) is None
    for copy, picture in zip(copies, expected):
        difference = copy.to_ndarray(format='rgb24').astype(int) - picture
        assert np.abs(difference).mean() < 8


def test_shapes_are_those_that_are_shown(tmp_path):
    film(tmp_path / 'a.mp4', size=64, width=96, turn=dict(degrees=90))
    assert PyAVReader(str(tmp_path / 'a.mp4')).frames([3])[0].shape == (96, 64, 3)
    assert DecordReader(str(tmp_path / 'a.mp4')).frames([3])[0].shape == (96, 64, 3)
    assert resize_video(tmp_path / 'a.mp4', tmp_path / 'b.mp4', 32) is None
    assert PyAVReader(str(tmp_path / 'b.mp4')).frames([3])[0].shape == (48, 32, 3)


def test_other_angles_are_left_alone(tmp_path):
    film(tmp_path / 'a.mp4', turn=dict(degrees=30))
    assert_frames(PyAVReader(str(tmp_path / 'a.mp4')), plain(tmp_path / 'a.mp4'), [0, 3])


class FrameOfUnknownData:
    """Which PyAV has no name for."""

    def __init__(self, rotation):
        self.rotation = rotation

    @property
    def side_data(self):
        raise ValueError('99 is not a valid Type')


@pytest.mark.parametrize('rotation', [90, 180, -90, -180])
def test_side_data_without_a_name(rotation):
    picture = np.arange(24).reshape(2, 4, 3)
    turn = turn_of(FrameOfUnknownData(rotation))
    assert np.array_equal(turn.of(picture), np.rot90(picture, rotation // 90))
    assert turn_of(FrameOfUnknownData(0)) is None


# Processes


FORK = '''
import os, runpy, sys
readers, path, name = sys.argv[1:]
reader = runpy.run_path(readers)[name]
expected = reader(path).frames([7])[0]
if os.fork() == 0:
    os._exit(int((reader(path).frames([7])[0] != expected).any()))
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
'''
READERS = Path(OPEN_VIDEO[-1]).with_name('readers.py')


@pytest.mark.parametrize('reader', ['PyAVReader', 'DecordReader'])
def test_a_forked_process_reads_what_its_parent_has_read(tmp_path, reader):
    film(tmp_path / 'a.mp4', size=256)  # large enough for a converter with threads
    # In a process of its own: that of the tests has threads of other libraries.
    subprocess.run([sys.executable, '-c', FORK, READERS, tmp_path / 'a.mp4', reader],
                   check=True, timeout=60)
