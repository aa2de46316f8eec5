"""Frames by number are those of plain decoding; those of decord, of some files."""
import av
import numpy as np
import pytest
from vita_mm.data import DecodeFrames, OpenVideo
from vita_mm.data.readers import DecordReader, PyAVReader
from vita_mm.errors import UserError
from world import write_video

X264 = dict(g='250', bf='3', preset='medium')
FILES = {
    'one_key_frame.mp4': ('libx264', X264),
    'short_gops.mp4': ('libx264', dict(X264, g='12')),
    'open_gops.mp4': ('libx264', dict(X264, g='15', keyint_min='15',
                                      x264opts='open-gop=1:scenecut=0')),
    'no_b_frames.mp4': ('libx264', dict(X264, bf='0')),
    'all_key_frames.mp4': ('libx264', dict(g='1')),
    'intra_refresh.mp4': ('libx264', dict(g='20', x264opts='intra-refresh=1')),
    'many_b_frames.mkv': ('libx264', dict(g='30', bf='8', x264opts='b-pyramid=normal')),
    'hevc.mp4': ('libx265', dict(g='20', **{'x265-params': 'log-level=none'})),
    'mpeg4.mp4': ('mpeg4', dict(g='12', bf='2')),
    'mpeg4.avi': ('mpeg4', dict(g='12', bf='2')),
    'vp9.webm': ('libvpx-vp9', dict(g='20', deadline='realtime', **{'cpu-used': '8'})),
}
# Of which decord 0.6.0 gives other frames than those asked for.
WRONG_BY_DECORD = {'open_gops.mp4', 'intra_refresh.mp4', 'hevc.mp4', 'mpeg4.mp4',
                   'mpeg4.avi'}
SIZE = (70, 54)  # no multiple of 16


def encode(path, codec, options, frames=60, start=0, **container_options):
    """A moving pattern with a hard cut."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    with av.open(str(path), 'w', options=container_options) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt = SIZE, 'yuv420p'
        stream.thread_count = 1
        for number in range(frames):
            picture = pictures[int(number * 5 // 3 >= frames)]
            large = np.kron(np.roll(picture, number, axis=1),
                            np.ones((3, 3, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(large[:SIZE[1], number % 20:][:, :SIZE[0]]))
            frame.pts = number + start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain(path):
    """All frames, decoded from the first to the last."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24')
                for frame in container.decode(video=0)]


def assert_frames(reader, expected, numbers):
    given = reader.frames(numbers)
    assert len(given) == len(numbers)
    for number, frame in zip(numbers, given):
        assert np.array_equal(frame, expected[number]), number


@pytest.mark.parametrize('name, decoder', [(name, PyAVReader) for name in FILES] + [
    (name, DecordReader) for name in FILES if name not in WRONG_BY_DECORD])
def test_frames_of_any_file(tmp_path, name, decoder):
    path = encode(tmp_path / name, *FILES[name])
    expected = plain(path)
    reader = decoder(str(path))
    assert len(reader) == len(expected) == 60
    assert reader.frame_rate == pytest.approx(25)
    generator = np.random.default_rng(1)
    chosen = [[0], [59], [0, 59], list(range(60)), list(range(3, 60, 8))] + [
        sorted(generator.choice(60, size=4, replace=False).tolist()) for _ in range(6)]
    for numbers in chosen:
        assert_frames(reader, expected, numbers)


@pytest.mark.parametrize('decoder', [PyAVReader, DecordReader])
def test_a_file_that_starts_late(tmp_path, decoder):
    path = encode(tmp_path / 'late.mkv', 'libx264', X264, start=17)
    assert_frames(decoder(str(path)), plain(path), [0, 1, 30, 59])


def test_threads_change_no_frame(tmp_path):
    path = encode(tmp_path / 'a.mp4', 'libx264', X264)
    assert_frames(PyAVReader(str(path), num_threads=2), plain(path), [2, 21, 40])


def test_a_stream_without_time_stamps(tmp_path):
    path = encode(tmp_path / 'raw.h264', 'libx264', X264)
    assert_frames(PyAVReader(str(path)), plain(path), [0, 7, 58])


def test_a_file_cut_without_encoding_it_anew(tmp_path):
    whole = encode(tmp_path / 'whole.mp4', *FILES['short_gops.mp4'])
    path = tmp_path / 'cut.mp4'
    with av.open(str(whole)) as source, av.open(str(path), 'w') as container:
        given = source.streams.video[0]
        stream = container.add_stream_from_template(given)
        packets = [packet for packet in source.demux(given) if packet.size]
        second = [packet for packet in packets if packet.is_keyframe][1]
        start = second.pts + 3 * second.duration  # frames before it get an edit list
        for packet in packets[packets.index(second):]:
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = stream
            container.mux(packet)
    expected, reader = plain(path), PyAVReader(str(path))
    assert any(packet.is_discard for packet in reader.held)
    assert len(reader) == len(expected) == len(reader.held) - 3
    assert_frames(reader, expected, list(range(0, len(expected), 5)))


def test_a_file_whose_end_is_missing(tmp_path):
    path = encode(tmp_path / 'a.mp4', 'libx264', X264, movflags='faststart')
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match='its end is missing'):
        PyAVReader(str(path))


def test_frames_that_nothing_needs_are_not_decoded(tmp_path):
    path = encode(tmp_path / 'a.mp4', 'libx264', dict(X264, g='20', keyint_min='20'))
    reader = PyAVReader(str(path))
    (first, last), = reader.spans({reader.times[45]})
    assert 20 < first <= last < 55
    assert not list(reader.decode_spans(set()))


@pytest.mark.parametrize('decoder', ['pyav', 'decord'])
def test_a_frame_of_several_clips_is_decoded_once(tmp_path, decoder):
    write_video(tmp_path / 'a.mp4', num_frames=40)
    results = OpenVideo(decoder=decoder)(dict(filename=str(tmp_path / 'a.mp4')))
    assert results['total_frames'] == 40 and results['avg_fps'] == pytest.approx(15)
    numbers = [5, 9, 13, 9, 13, 5]
    results = DecodeFrames()(dict(results, frame_inds=np.array(numbers)))
    expected = plain(tmp_path / 'a.mp4')
    for number, frame in zip(numbers, results['imgs'], strict=True):
        assert np.array_equal(frame, expected[number])
    assert results['imgs'][0] is results['imgs'][5]
    assert results['img_shape'] == (64, 64) and 'video_reader' not in results


def test_an_unknown_decoder_is_refused():
    with pytest.raises(UserError, match='pyav, decord'):
        OpenVideo(decoder='opencv')
