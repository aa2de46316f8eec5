"""Small videos of many containers, codecs and cuts, whose frames show their numbers.

``make(name, folder)`` writes one of :data:`ZOO` and returns its path.
"""
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np

FRAMES = 30
X264 = dict(bf=3, g=10, preset='veryfast', x264_params='scenecut=0:b-adapt=0')
OPEN = dict(X264, x264_params='scenecut=0:b-adapt=0:open-gop=1:keyint=10:min-keyint=10')
X265 = dict(x265_params='log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=0')
X265_OPEN = dict(x265_params='log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=1'
                             ':scenecut=0')
MPEG = dict(bf=2, g=10)
VPX = dict(deadline='good', cpu_used=4, auto_alt_ref=1, lag_in_frames=12, g=15, b='60k')
ZOO: dict[str, Callable[[Path], None]] = {}


def picture(number: int, size: int = 64, width: int | None = None) -> np.ndarray:
    """Frame of a number: it stands in 8 blocks, dark or bright, over a moving bar."""
    block, image = size // 4, np.full((size, width or size, 3), 110, np.uint8)
    left = number * 3 % (size - block)
    image[size * 5 // 8:, left:left + block] = (200, 60, 60)
    for bit in range(8):
        top, left = bit // 4 * block, bit % 4 * block
        image[top:top + block, left:left + block] = 235 if number >> bit & 1 else 16
    return image


def number_of(image: np.ndarray) -> int:
    """Which frame a picture is."""
    block = image.shape[0] // 4
    blocks = np.asarray(image, float).mean(2)[:2 * block, :4 * block]
    means = blocks.reshape(2, block, 4, block)[:, block // 4:-(block // 4), :,
                                               block // 4:-(block // 4)].mean((1, 3))
    return int(((means.ravel() > 128) << np.arange(8)).sum())


def film(path: Path, codec: str = 'libx264', frames: int = FRAMES, size: int = 64,
         width: int | None = None, pix_fmt: str = 'yuv420p', rate: int = 25,
         stamps: list[int] | None = None, first: int = 0,
         form: str | None = None, turn: dict | None = None,
         muxer: dict | None = None, **options) -> None:
    """Encode the frames of the numbers ``first``, ``first + 1`` …

    Args:
        stamps: of the frames, in frames.
        form: the name of the container's format.
        turn: arguments of ``set_display_rotation``.
        muxer: its options.
        options: of the encoder; ``_`` stands for ``-``.
    """
    with av.open(str(path), 'w', format=form, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={
            name.replace('_', '-') if codec.startswith('lib') else name: str(value)
            for name, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = width or size, size, pix_fmt
        stream.codec_context.thread_count = 1
        if turn:
            stream.set_display_rotation(**turn)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(first + number, size, width))
            frame.pts = stamps[number] if stamps else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def keys(packets: list[av.Packet]) -> list[int]:
    return [place for place, packet in enumerate(packets) if packet.is_keyframe]


def from_second_key(packets: list[av.Packet]) -> list[av.Packet]:
    return packets[keys(packets)[1]:]


def without_first(packets: list[av.Packet]) -> list[av.Packet]:
    return packets[3:]


def without_middle(packets: list[av.Packet]) -> list[av.Packet]:
    place = keys(packets)[1]
    return packets[:place + 2] + packets[place + 3:]


def remux(path: Path, choose: Callable = list, source: str | None = None, late: int = 0,
          stamps: Callable | None = None, muxer: dict | None = None, **options) -> None:
    """A film whose packets are written into another file without encoding them anew.

    Args:
        choose: gives the packets to be written.
        source: suffix of the first file, by default that of the second.
        late: by how many packets the second file's time begins after its first packet,
            which gives an mp4 an edit list.
        stamps: from place and packet to (pts, dts) in frames.
    """
    whole = path.with_name(f'whole-{path.stem}{source or path.suffix}')
    film(whole, **options)
    with av.open(str(whole)) as given, \
            av.open(str(path), 'w', options=muxer or {}) as container:
        template = given.streams.video[0]
        stream = container.add_stream_from_template(template)
        packets = choose([packet for packet in given.demux(template) if packet.size])
        start = packets[late].dts or 0
        frame = 1 / template.average_rate / template.time_base
        for place, packet in enumerate(packets):
            if stamps:
                packet.pts, packet.dts = (
                    round(stamp * frame) for stamp in stamps(place, packet))
            elif packet.dts is not None:
                packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = stream
            container.mux(packet)
    whole.unlink()


def sizes(path: Path, sizes: tuple[int, ...] = (64, 96), frames: int = 15,
          **options) -> None:
    """A stream whose pictures change their size."""
    content = b''
    for part, size in enumerate(sizes):
        one = path.with_name(f'{part}-{path.name}')
        film(one, frames=frames, size=size, first=part * frames, **options)
        content += one.read_bytes()
        one.unlink()
    path.write_bytes(content)


def packed_divx(path: Path) -> None:
    """As DivX 5 writes AVI: a B-frame lies in one chunk with the frame that it refers
    to, an empty chunk stands in its place, and one is left at the end."""
    plain = path.with_name('plain.avi')
    film(plain, 'mpeg4', bf=1, g=12, flags='bitexact')
    with av.open(str(plain)) as given:
        chunks = [bytes(packet) for packet in given.demux() if packet.size]

    def kind(chunk: bytes) -> int:
        """0: I, 1: P, 2: B."""
        return chunk[chunk.index(b'\0\0\1\xb6') + 4] >> 6

    head = chunks[0]
    start = head.index(b'\0\0\1\xb6')
    if b'\0\0\1\xb3' in head:
        start = min(start, head.index(b'\0\0\1\xb3'))
    at = head.find(b'\0\0\1\xb2')  # the encoder's own name
    if 0 <= at < start:
        head, start = head[:at] + head[start:], at
    chunks[0] = head[:start] + b'\0\0\1\xb2DivX503b1393p' + head[start:]
    packed, place = [], 0
    while place < len(chunks):
        if (place + 1 < len(chunks) and kind(chunks[place]) != 2
                and kind(chunks[place + 1]) == 2):
            packed += [chunks[place] + chunks[place + 1], b'\0\0\1\xb6\x50\x4f\x7f']
            place += 2
        else:
            packed.append(chunks[place])
            place += 1
    packed.append(b'\0\0\1\xb6\x50\x4f\x7f')
    with av.open(str(plain)) as given, av.open(str(path), 'w') as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for place, chunk in enumerate(packed):
            packet = av.Packet(chunk)
            packet.stream, packet.pts, packet.dts = stream, place, place
            packet.time_base = given.streams.video[0].time_base
            packet.is_keyframe = kind(chunk) == 0
            container.mux(packet)
    plain.unlink()


def two_streams(path: Path, sizes: tuple[int, int] = (32, 64), default: int | None = None,
                cover: bool = False) -> None:
    """A film of each size; the smaller shows other numbers."""
    with av.open(str(path), 'w') as container:
        streams = []
        for place, size in enumerate(sizes):
            stream = container.add_stream('mjpeg' if cover and not place else 'libx264',
                                          rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = 'yuvj420p' if cover and not place else 'yuv420p'
            stream.codec_context.thread_count = 1
            if cover and not place:
                stream.disposition = av.stream.Disposition.attached_pic
            if place == default:
                stream.disposition = av.stream.Disposition.default
            streams.append(stream)
        for number in range(FRAMES):
            for place, stream in enumerate(streams):
                if cover and not place and number:
                    continue
                frame = av.VideoFrame.from_ndarray(picture(
                    number if stream.width == max(sizes) else 255 - number, stream.width))
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())


def hide(packets: list[av.Packet]) -> list[av.Packet]:
    """Every seventh picture of a film in VP8 is not to be shown, as if it were one that
    the encoder made for others to refer to."""
    for place in range(3, len(packets), 7):
        data = bytearray(bytes(packets[place]))
        data[0] &= ~0x10  # show_frame
        packets[place].update(bytes(data))
    return packets


def no_sync_table(path: Path) -> None:
    """An mp4 that does not say which of its frames are key frames."""
    film(path, **X264)
    path.write_bytes(path.read_bytes().replace(b'stss', b'free'))


def uneven(number: int = FRAMES) -> list[int]:
    return np.cumsum([1, 1, 4, 2, 1, 7] * (number // 6 + 1))[:number].tolist()


def add(name: str, function: Callable = film, **options) -> None:
    ZOO[name] = partial(function, **options)


def make(name: str, folder: Path) -> Path:
    path = folder / name
    ZOO[name](path)
    return path


# mp4 and mov

add('h264.mp4', **X264)
add('one_key.mp4', bf=3, g=250)
add('open.mp4', **OPEN)
add('pyramid.mp4', bf=8, g=30, x264_params='b-pyramid=normal:b-adapt=0')
add('no_b.mp4', bf=0, g=10)
add('all_key.mp4', g=1)
add('intra_refresh.mp4', g=10, x264_params='intra-refresh=1')
add('interlaced.mp4', bf=3, g=10, x264_params='tff=1')
add('lossless.mp4', qp=0, pix_fmt='yuv444p')
add('ten_bits.mp4', pix_fmt='yuv420p10le', **X264)
add('uneven.mp4', stamps=uneven(), **X264)
add('late.mp4', stamps=list(range(17, 17 + FRAMES)), **X264)
add('fragments.mp4', muxer=dict(movflags='frag_keyframe+empty_moov'), **X264)
add('moov_first.mp4', muxer=dict(movflags='faststart'), **X264)
add('no_sync_table.mp4', no_sync_table)
add('edit_list.mp4', remux, choose=from_second_key, late=3, **X264)
add('open_cut.mp4', remux, choose=from_second_key, **OPEN)
add('open_cut_edit.mp4', remux, choose=from_second_key, late=5, **OPEN)
add('no_first.mp4', remux, choose=without_first, **X264)
add('no_middle.mp4', remux, choose=without_middle, **X264)
add('hevc.mp4', codec='libx265', **X265)
add('hevc_open.mp4', codec='libx265', **X265_OPEN)
add('hevc_open_cut.mp4', remux, choose=from_second_key, codec='libx265', **X265_OPEN)
add('mpeg4.mp4', codec='mpeg4', **MPEG)
add('vp9.mp4', codec='libvpx-vp9', **VPX)
add('av1.mp4', codec='libsvtav1', preset=12, g=15)
add('mjpeg.mov', codec='mjpeg', pix_fmt='yuvj420p')
add('prores.mov', codec='prores_ks', pix_fmt='yuv422p10le')
add('h264.mov', **X264)
add('qtrle.mov', codec='qtrle', pix_fmt='rgb24')
add('mpeg4.3gp', codec='mpeg4', form='3gp', **MPEG)
add('h263.3gp', codec='h263', size=96, width=128, form='3gp')
add('two.mp4', two_streams)
add('cover.mp4', two_streams, sizes=(96, 64), cover=True)
for degrees in 90, 180, -90:
    add(f'turned{degrees}.mp4', turn=dict(degrees=degrees), **X264)
add('mirrored.mp4', turn=dict(degrees=0, hflip=True), **X264)
add('turned_mirrored.mp4', turn=dict(degrees=90, hflip=True), **X264)
add('turned90.mov', codec='mjpeg', pix_fmt='yuvj420p', turn=dict(degrees=90))

# mkv and webm

add('h264.mkv', **X264)
add('open.mkv', **OPEN)
add('open_cut.mkv', remux, choose=from_second_key, **OPEN)
add('no_first.mkv', remux, choose=without_first, **X264)
add('no_middle.mkv', remux, choose=without_middle, **X264)
add('same_stamps.mkv', rate=4000, **X264)
add('stored_order.mkv', remux, stamps=lambda place, packet: (place, place), **X264)
add('as_in_avi.mkv', remux, source='.avi', codec='mpeg4', **MPEG)
add('h264_of_avi.mkv', remux, source='.avi', stamps=lambda place, packet: (place, place),
    **X264)
add('hevc_open_cut.mkv', remux, choose=from_second_key, codec='libx265', **X265_OPEN)
add('mpeg4.mkv', codec='mpeg4', **MPEG)
add('mpeg2.mkv', codec='mpeg2video', **MPEG)
add('ffv1.mkv', codec='ffv1')
add('mjpeg.mkv', codec='mjpeg', pix_fmt='yuvj420p')
add('two.mkv', two_streams)
add('two_default.mkv', two_streams, default=0)
add('turned90.mkv', turn=dict(degrees=90), **X264)
add('vp8.webm', codec='libvpx', **VPX)
add('vp8_cut.webm', remux, choose=from_second_key, codec='libvpx', **VPX)
add('vp8_hidden.webm', remux, choose=hide, codec='libvpx', **VPX)
add('vp9.webm', codec='libvpx-vp9', **VPX)
add('vp9_no_first.webm', remux, choose=without_first, codec='libvpx-vp9', **VPX)
add('av1.webm', codec='libsvtav1', preset=12, g=15)

# AVI

add('mpeg4.avi', codec='mpeg4', **MPEG)
add('packed_divx.avi', packed_divx)
add('h264.avi', **X264)
add('open.avi', **OPEN)
add('no_first.avi', remux, choose=without_first, codec='mpeg4', **MPEG)
add('mjpeg.avi', codec='mjpeg', pix_fmt='yuvj420p')
add('huffyuv.avi', codec='huffyuv', pix_fmt='yuv422p')
add('ffv1.avi', codec='ffv1')
add('msmpeg4.avi', codec='msmpeg4')
add('flv1.avi', codec='flv')
add('raw.avi', codec='rawvideo', pix_fmt='bgr24')

# Streams and the rest

add('h264.ts', **X264)
add('open_cut.ts', remux, choose=from_second_key, **OPEN)
add('no_first.ts', remux, choose=without_first, **X264)
add('hevc.ts', codec='libx265', **X265)
add('hevc_open_cut.ts', remux, choose=from_second_key, codec='libx265', **X265_OPEN)
add('mpeg2.ts', codec='mpeg2video', **MPEG)
add('mpeg2_cut.ts', remux, choose=without_first, codec='mpeg2video', **MPEG)
add('mpeg1.mpg', codec='mpeg1video', form='mpeg', **MPEG)
add('mpeg2.mpg', codec='mpeg2video', form='vob', **MPEG)
add('flv1.flv', codec='flv')
add('h264.flv', **X264)
add('wmv1.wmv', codec='wmv1', form='asf')
add('wmv2.wmv', codec='wmv2', form='asf')
add('msmpeg4.asf', codec='msmpeg4', form='asf')
add('vp8.ogv', codec='libvpx', form='ogg', **VPX)
add('raw.h264', **X264)
add('open.h264', **OPEN)
add('sizes.h264', sizes, **X264)
add('sizes.ts', sizes, codec='mpeg2video', **MPEG)
add('sizes.mjpeg', sizes, codec='mjpeg', form='mjpeg', pix_fmt='yuvj420p')
add('raw.hevc', codec='libx265', **X265)
add('raw.m4v', codec='mpeg4', form='m4v', **MPEG)
add('raw.mjpeg', codec='mjpeg', form='mjpeg', pix_fmt='yuvj420p')
add('vp8.ivf', codec='libvpx', **VPX)
add('vp9.ivf', codec='libvpx-vp9', **VPX)
add('av1.ivf', codec='libsvtav1', preset=12, g=15)
add('a.gif', codec='gif', pix_fmt='rgb8')
add('mpeg4.nut', codec='mpeg4', **MPEG)
add('mpeg2.mxf', codec='mpeg2video', form='mxf', g=10)
