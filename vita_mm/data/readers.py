"""Readers of video files: any frames by number, decoding as few as possible.

Frame i is the i-th picture that plain decoding from the start shows, turned as its
container says; docs/decoding.md tells how that is known of which files.

open_video.py imports this file by its path: nothing of ``vita_mm`` is imported here.
"""
import itertools
import os
import stat
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

MAX_PIXELS = 8192 * 4320  # a picture of 8K
MAX_HELD = 256 * 2**20  # bytes

# Demuxers of files that hold their pictures themselves: no playlists, which name other
# files, no series of images, no text that FFmpeg draws.
FORMATS = ('3gp,apng,asf,avi,dv,flv,gif,h263,h264,hevc,ivf,live_flv,m4v,matroska,mjpeg,'
           'mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,webm,wtv,yuv4mpegpipe')
# Where each packet of these codecs in these containers is a picture at its time stamp.
TIMED_FORMATS = {'matroska', 'mov'}
TIMED_CODECS = {'av1', 'h264', 'hevc', 'vp8', 'vp9'}
CUT_CODECS = {'h264', 'hevc'}  # whose decoders see an error in a file that is merely cut
PROGRESSIVE = {0, 1}  # AVFieldOrder: unknown or so; each field may have its own packet
ERRORS = 'crccheck+bitstream+buffer+explode'

DEGREE = 0.0175  # that a display matrix may be off, as in ffmpeg
# Turns by quarters, counter-clockwise: see Turn.
QUARTERS = [(False, False, False), (True, True, False), (False, True, True),
            (True, False, True)]

EBML, SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
MP4_BOXES = {b'ftyp', b'moov', b'mdat', b'moof', b'free', b'skip', b'wide', b'styp',
             b'sidx', b'mfra', b'uuid', b'meta', b'emsg', b'prft'}


class Unproven(Exception):
    """The time stamps of a file may not tell the order of its pictures."""


class Incomplete(Exception):
    """A file begins with packets that refer to some that it does not have.

    It was cut out of another one. The decoder calls that an error, and goes on.
    """


class Video:
    """A video file that FFmpeg decodes from the start.

    Args:
        path, num_threads, strict, max_pixels: see :class:`PyAVReader`.

    Raises:
        av.FFmpegError, OSError, ValueError: if it cannot be read.
    """

    def __init__(self, path: str, num_threads: int = 1, strict: bool = True,
                 max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.num_threads = num_threads
        self.strict = strict
        self.max_pixels = max_pixels
        refuse_irregular(path)
        if strict and declared_end(path) > os.path.getsize(path):
            raise ValueError('its end is missing')
        self.stream = self.open()

    def open(self, strict: bool | None = None) -> av.VideoStream:
        """The stream that FFmpeg takes, at its start.

        No device is opened, no fifo, and no list of other files.
        """
        strict = self.strict if strict is None else strict
        # FFmpeg counts pixels of longer lines: its limit is for what it allocates.
        limit = {'max_pixels': str(2 * self.max_pixels + 2**16)}
        # FFmpeg takes what stands before a colon in a relative path for a protocol.
        stream = best_stream(av.open(
            os.path.abspath(self.path), metadata_errors='replace',
            options=limit,
            container_options={'format_whitelist': FORMATS,
                               'protocol_whitelist': 'file'}))
        self.refuse_large(stream.width, stream.height)
        stream.thread_count = self.num_threads
        stream.thread_type = 'AUTO' if self.num_threads > 1 else 'NONE'
        stream.codec_context.options = limit | (
            {'err_detect': ERRORS} if strict else {})
        return stream

    def decode(self) -> Iterator[av.VideoFrame]:
        """All frames in the order in which they are shown."""
        shown = 0
        try:
            for frame in self.decode_stream(self.strict):
                yield frame
                shown += 1
        except Incomplete:
            yield from itertools.islice(self.decode_stream(strict=False), shown, None)

    def decode_stream(self, strict: bool) -> Iterator[av.VideoFrame]:
        """All frames.

        Raises:
            Incomplete: if ``strict``, where an error may be none of the file.
        """
        stream = self.open(strict)
        key, later, error, shown = None, False, None, False
        cut = False  # whether the file begins in the midst of another one
        with container_of(stream) as container:
            for packet in container.demux(stream):
                later = later or packet.is_keyframe and key is not None
                if packet.is_keyframe and key is None:
                    key = packet
                cut = cut or packet.size and precedes(packet, key)
                try:
                    frames = packet.decode()
                except FFmpegError as fault:
                    self.refuse_large(stream.width, stream.height)
                    if isinstance(fault, ArgumentError):  # of no size, or huge
                        raise
                    if strict and key:
                        if cut and not later and codec_name(stream) in CUT_CODECS:
                            raise Incomplete from fault
                        raise
                    error = error or fault
                    continue
                for frame in frames:
                    shown = True
                    self.check(frame)
                    yield frame
        if not shown and error:
            raise error

    def check(self, frame: av.VideoFrame) -> None:
        """Raises ValueError if a frame may not be had."""
        self.refuse_large(frame.width, frame.height)
        if self.strict and frame.is_corrupt:
            raise ValueError('its data are damaged')

    def refuse_large(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ValueError(f'its pictures of {width}x{height} have more pixels than '
                             f'max_pixels={self.max_pixels}')


class Batch(NamedTuple):
    """Frames (H, W, 3), RGB in uint8; those that are the same are one array."""
    frames: list[np.ndarray]

    def asnumpy(self) -> np.ndarray:
        """(n, H, W, 3)."""
        return np.stack(self.frames)


class Reader(ABC):
    """What the readers have in common: beside ``frames``, decord's ``get_batch``.

    MMAction2's inferencer puts its ``DecordDecode`` in the place of any decoding.
    """

    @abstractmethod
    def __len__(self) -> int:
        """How many frames there are."""

    @property
    @abstractmethod
    def frame_rate(self) -> float:
        """Frames a second; 0 if it is not known."""

    @abstractmethod
    def close(self) -> None:
        """Nothing is read any more."""

    @abstractmethod
    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        """The frames of distinct numbers in rising order."""

    def get_batch(self, numbers: Sequence[int] | np.ndarray) -> Batch:
        """The frames of any numbers, each decoded once."""
        distinct, places = np.unique(numbers, return_inverse=True)
        frames = self.frames(distinct.tolist())
        return Batch([frames[place] for place in places.ravel()])


class PyAVReader(Reader):
    """Frames of a video by FFmpeg, through PyAV.

    Packets of mp4, mov, mkv and webm are read without being decoded and put in order by
    their time stamps. Wanted frames are then decoded from the last key frame before them;
    of the others, those that no frame refers to (most B-frames) are skipped. All other
    files, and those whose time stamps do not tell the order, are decoded from the start.

    Args:
        path: of the video.
        num_threads: of the decoder.
        strict: refuse what is seen to be damaged or to end early; else its pictures are
            those that FFmpeg makes of what there is, decoded from the start.
        max_pixels: of a picture; a video of larger ones is refused.
        max_held: bytes of packets or decoded pictures to hold; a video of more is read or
            decoded again instead. The frames asked for come on top.

    Raises:
        av.FFmpegError, OSError, ValueError: if it cannot be read.
    """

    def __init__(self, path: str, num_threads: int = 1, strict: bool = True,
                 max_pixels: int = MAX_PIXELS, max_held: int = MAX_HELD) -> None:
        self.video = Video(path, num_threads, strict, max_pixels)
        self.stream = self.video.stream
        self.max_held = max_held
        # Not of all readers: one that was used before a fork does not work after it.
        self.converter = VideoReformatter()
        # The packets or the decoded pictures; None if they are too many.
        self.held: list | None = []
        # Of the pictures in order, where they are proven.
        self.times: list[int] | None = None
        try:
            self.index()
        except Unproven:
            self.held = []
            self.count = self.decode_and_hold()
        if not self.count:
            raise ValueError('it has no frames')

    def __len__(self) -> int:
        return self.count

    @property
    def frame_rate(self) -> float:
        return float(self.stream.average_rate or 0)

    def close(self) -> None:
        self.held = None
        self.stream.container.close()

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        """The frames (H, W, 3), RGB in uint8, of distinct numbers in rising order.

        All are as large as the first one of the video, as FFmpeg scales them too.
        """
        try:
            found = self.seek(numbers)
        except (Unproven, FFmpegError):
            found = self.pick(numbers)
        if len(found) < len(numbers):
            raise ValueError(f'{len(numbers) - len(found)} of its frames cannot be '
                             'decoded')
        if len({frame.shape for frame in found}) > 1:
            raise ValueError('its display matrix changes')
        return found

    def check(self) -> None:
        """Decode everything; raises if anything is damaged."""
        times = [frame.pts for frame in self.video.decode()]
        if len(times) != self.count:
            raise ValueError(f'{len(times)} of its {self.count} frames can be decoded')
        if self.times is not None and self.times != times:
            raise ValueError('its frames are not in the order of their time stamps')

    # By time stamps

    def index(self) -> None:
        """Put the pictures in order by their time stamps, without decoding.

        Raises:
            Unproven: if that may not be the order in which they are shown.
        """
        container, codec = self.stream.container, self.stream.codec_context
        formats = set(container.format.name.split(','))
        # An mkv of the codec as AVI has it, fourcc included, has its time stamps too.
        as_in_avi = 'matroska' in formats and codec.codec_tag.strip('\0')
        # What damage leaves of a file is known only when it is decoded.
        if (not self.video.strict or not formats & TIMED_FORMATS or as_in_avi
                or codec_name(self.stream) not in TIMED_CODECS
                or codec.field_order not in PROGRESSIVE):
            raise Unproven
        self.stamps, self.keys, shown, size = [], [], [], 0
        for place, packet in enumerate(packets(self.stream)):
            if packet.has_sidedata('new_extradata'):  # to be decoded from there on only
                raise Unproven
            self.stamps.append(packet.pts)
            if packet.is_keyframe:
                self.keys.append(place)
            # What an edit list cuts away is there to be decoded, but not shown.
            if not (packet.is_discard or is_hidden(packet, codec_name(self.stream))):
                shown.append(packet.pts)
            size += packet.size
            if size > self.max_held:
                self.held = None
            if self.held is not None:
                self.held.append(packet)
        if not shown or None in self.stamps or len(set(self.stamps)) < len(self.stamps):
            raise Unproven
        times = sorted(shown)
        # Pictures before the first key frame cannot be decoded; pictures that are said to
        # be stored in another order than shown, but have stamps in that order, neither
        # have the right ones.
        if (self.keys[:1] != [0] or min(self.stamps) < self.stamps[0]
                or (times != shown) != codec.has_b_frames):
            raise Unproven
        if codec_name(self.stream) == 'h264':
            # Pictures shown before a key frame, though stored behind it, may need what
            # precedes it: to begin there would be an error.
            ends = [*self.keys[1:], None]
            self.keys = [key for key, end in zip(self.keys, ends)
                         if min(self.stamps[key:end]) == self.stamps[key]]
        self.times, self.count = times, len(times)

    def seek(self, numbers: list[int]) -> list[np.ndarray]:
        """Frames, decoded from the key frames before them.

        Raises:
            Unproven: if the decoder shows that the time stamps do not tell the order.
        """
        if self.times is None:
            raise Unproven
        wanted = {self.times[number] for number in numbers}
        size = self.stream.width, self.stream.height
        found = {}
        for frames in self.decode_spans(wanted):
            last = None
            for frame in frames:
                if frame.pts is None or last is not None and frame.pts <= last or (
                        frame.width, frame.height) != size:
                    raise Unproven
                last = frame.pts
                if frame.pts in wanted:
                    found[frame.pts] = self.picture(frame, size)
        if len(found) < len(wanted):
            raise Unproven
        return [found[time] for time in sorted(wanted)]

    def decode_spans(self, wanted: set[int]) -> Iterator[Iterator[av.VideoFrame]]:
        """The frames of each of the :meth:`spans`; not all of those not wanted."""
        places = enumerate(packets(self.video.open()) if self.held is None else self.held)
        for first, last in self.spans(wanted):
            yield self.decode_span(places, first, last, wanted)

    def decode_span(self, places: Iterator[tuple[int, av.Packet]], first: int, last: int,
                    wanted: set[int]) -> Iterator[av.VideoFrame]:
        codec = self.stream.codec_context
        codec.flush_buffers()
        for place, packet in places:
            if place < first:
                continue
            codec.skip_frame = 'DEFAULT' if packet.pts in wanted else 'NONREF'
            yield from codec.decode(packet)
            if place == last:
                break
        yield from codec.decode(None)

    def spans(self, wanted: set[int]) -> list[tuple[int, int]]:
        """The first and last packets that must be decoded, from each key frame on."""
        last = defaultdict(int)
        for place, stamp in enumerate(self.stamps):
            if stamp in wanted:
                before = [key for key in self.keys
                          if key <= place and self.stamps[key] <= stamp]
                first = before[-1] if before else 0
                last[first] = max(last[first], place)
        merged = []
        for first, place in sorted(last.items()):
            if merged and first <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], place)
            else:
                merged.append((first, place))
        return merged

    # In order

    def decode_and_hold(self) -> int:
        """Decode all frames and hold them, if they are not too many; their number."""
        count = size = 0
        for frame in self.video.decode():
            count += 1
            size += sum(plane.buffer_size for plane in frame.planes)
            if size > self.max_held:
                self.held = None
            if self.held is not None:
                self.held.append(frame)
        return count

    def pick(self, numbers: list[int]) -> list[np.ndarray]:
        """Frames of all that are decoded from the start."""
        held = self.held if self.times is None else None
        wanted, found = set(numbers), []
        for number, frame in enumerate(self.video.decode() if held is None else held):
            if number == 0:
                size = frame.width, frame.height
            if number in wanted:
                found.append(self.picture(frame, size))
            if len(found) == len(wanted):
                break
        return found

    # Pictures

    def picture(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        """(H, W, 3), RGB in uint8, scaled to a width and height and then turned."""
        self.video.check(frame)
        rgb = self.converter.reformat(frame, *size, 'rgb24', threads=1).to_ndarray()
        turn = turn_of(frame)
        return turn.of(rgb) if turn else rgb


class DecordReader(Reader):
    """The same by decord, whose frames are not always those asked for."""

    def __init__(self, path: str, num_threads: int = 1) -> None:
        import decord  # there are machines that it has no wheel for

        refuse_irregular(path)
        self.reader = decord.VideoReader(os.path.abspath(path), num_threads=num_threads)

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def frame_rate(self) -> float:
        return self.reader.get_avg_fps()

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        return list(self.reader.get_batch(numbers).asnumpy())

    def close(self) -> None:
        del self.reader


def refuse_irregular(path: str) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError('it is not a regular file')


def best_stream(container: InputContainer) -> av.VideoStream:
    """The stream that the command ffmpeg takes: the default one, else the largest."""
    streams = [stream for stream in container.streams.video
               if stream.codec_context is not None
               and not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise ValueError('it has no video stream')
    return max(streams, key=lambda stream: (
        stream.width * stream.height
        + 5_000_000 * bool(stream.disposition & Disposition.default)))


def container_of(stream: av.VideoStream) -> InputContainer:
    container = stream.container
    assert isinstance(container, InputContainer)  # nothing here is written
    return container


def codec_name(stream: av.VideoStream) -> str:
    return stream.codec_context.codec.canonical_name


def packets(stream: av.VideoStream) -> Iterator[av.Packet]:
    """All that hold data."""
    return (packet for packet in container_of(stream).demux(stream) if packet.size)


def is_hidden(packet: av.Packet, codec: str) -> bool:
    """Whether a packet of VP8 or VP9 holds but a picture that others refer to."""
    if codec == 'vp8':
        return not memoryview(packet)[0] & 0x10  # show_frame
    if codec == 'vp9':
        data = memoryview(packet)
        several = data[-1] & 0xe0 == 0xc0  # a superframe, of which one is shown
        return not several and not data[0] & 0x0a  # show_existing_frame, show_frame
    return False


def precedes(packet: av.Packet, key: av.Packet | None) -> bool:
    """Whether a packet is shown before the first key frame, as far as one can tell."""
    if packet is key:
        return False
    return (key is None or packet.pts is None or key.pts is None
            or packet.pts < key.pts)


class Turn(NamedTuple):
    """How a picture is to be shown: mirrored along its diagonal first, if at all."""
    transposed: bool
    upside_down: bool
    left_right: bool

    def of(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, …), turned."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return np.ascontiguousarray(picture[::-1 if self.upside_down else 1,
                                            ::-1 if self.left_right else 1])


def turn_of(frame: av.VideoFrame) -> Turn | None:
    """What the display matrix of a frame says.

    None if that is nothing, or another angle than quarters of a turn.
    """
    try:
        matrix = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:  # PyAV has no name for others of its side data
        turn = Turn(*QUARTERS[round(frame.rotation / 90) % 4])
    else:
        if matrix is None:
            return None
        # x' = a x + c y, y' = b x + d y
        a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
        if abs(b) + abs(c) < DEGREE * (abs(a) + abs(d)):
            turn = Turn(False, d < 0, a < 0)
        elif abs(a) + abs(d) < DEGREE * (abs(b) + abs(c)):
            turn = Turn(True, b < 0, c < 0)
        else:
            return None
    return turn if any(turn) else None


def declared_end(path: str) -> int:
    """Where an mp4, mov, mkv, webm or AVI says that it ends; 0 if it does not say."""
    with open(path, 'rb') as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(EBML):
            return end_of_matroska(file)
        if head.startswith(b'RIFF'):
            return end_of_chunks(file, read_chunk, {b'RIFF'})
        return end_of_chunks(file, read_box, MP4_BOXES)


def end_of_chunks(file: BinaryIO, read: Callable, kinds: set[bytes]) -> int:
    """The end of the last of the chunks that a file is made of."""
    end = 0
    while True:
        file.seek(end)
        kind, size = read(file)
        if kind not in kinds or not size:
            return end
        end += size


def read_chunk(file: BinaryIO) -> tuple[bytes, int]:
    """Kind and size of a RIFF chunk (AVI); size 0 if it is not known."""
    kind, size = file.read(4), int.from_bytes(file.read(4), 'little')
    return kind, 0 if size in (0, 2**32 - 1) else 8 + size


def read_box(file: BinaryIO) -> tuple[bytes, int]:
    """Kind and size of a box (ISO 14496-12); size 0 if it goes to the file's end."""
    size, kind = int.from_bytes(file.read(4), 'big'), file.read(4)
    return kind, int.from_bytes(file.read(8), 'big') if size == 1 else size


def end_of_matroska(file: BinaryIO) -> int:
    """The end of the first segment (RFC 8794); 0 if it is not known."""
    for kind in (EBML, SEGMENT):
        if file.read(4) != kind:
            return 0
        first = int.from_bytes(file.read(1), 'big')
        length = 9 - first.bit_length()  # of the size, in bytes
        size = int.from_bytes(bytes([first]) + file.read(length - 1), 'big') \
            - (1 << 7 * length)
        if kind == EBML:
            file.seek(size, os.SEEK_CUR)
    return 0 if size == (1 << 7 * length) - 1 else file.tell() + size
