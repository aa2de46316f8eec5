"""Readers of video files: any frames by number, decoding as few as possible.

open_video.py imports this file by its path: nothing of ``vita_mm`` is imported here.
"""
import os
from collections import defaultdict
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import VideoReformatter


class PyAVReader:
    """Frames of a video by FFmpeg, through PyAV.

    Packets are read without being decoded and put in order by their time stamps. Wanted
    frames are then decoded from the last key frame before them; of the others, those
    that no frame refers to (most B-frames) are skipped.

    Args:
        path: of the video.
        num_threads: of the decoder.

    Raises:
        av.FFmpegError, ValueError: if it cannot be read.
    """
    converter = VideoReformatter()  # of all videos: it remembers how, for each size

    def __init__(self, path: str, num_threads: int = 1) -> None:
        self.container = av.open(path)
        if not self.container.streams.video:
            raise ValueError('it has no video stream')
        self.stream = self.container.streams.video[0]
        self.stream.thread_count = num_threads
        self.stream.thread_type = 'AUTO' if num_threads > 1 else 'NONE'
        self.packets = [packet for packet in self.container.demux(self.stream)
                        if packet.size]
        index = self.stream.index_entries
        if len(index) and index[-1].pos + index[-1].size > os.path.getsize(path):
            raise ValueError('its end is missing')
        times = [packet.pts for packet in self.packets]
        # Without a time stamp for each frame only decoding tells which is which.
        self.in_order = None not in times and len(set(times)) == len(times)
        # What is cut away by an edit list is there to be decoded, but not shown.
        self.times = sorted(
            packet.pts for packet in self.packets if not packet.is_discard
        ) if self.in_order else [number for number, _ in enumerate(self.decode_all())]
        if not self.times:
            raise ValueError('it has no frames')

    def __len__(self) -> int:
        return len(self.times)

    @property
    def frame_rate(self) -> float:
        return float(self.stream.average_rate or 0)

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        """The frames (H, W, 3), RGB in uint8, of distinct numbers in rising order."""
        wanted = {self.times[number] for number in numbers}
        decoded = self.decode_wanted(wanted) if self.in_order else {}
        if len(decoded) < len(wanted):
            decoded = {number: frame for number, frame in enumerate(self.decode_all())
                       if number in set(numbers)}
            wanted = numbers
        if len(decoded) < len(wanted):
            raise ValueError(f'{len(wanted) - len(decoded)} of its frames cannot be '
                             'decoded')
        for frame in decoded.values():
            refuse_damaged(frame)
        return [self.converter.reformat(decoded[key], format='rgb24').to_ndarray()
                for key in sorted(wanted)]

    def decode_wanted(self, wanted: set[int]) -> dict[int, av.VideoFrame]:
        """Frames by time stamp."""
        codec, decoded = self.stream.codec_context, {}
        for first, last in self.spans(wanted):
            for packet in self.packets[first:last + 1]:
                codec.skip_frame = 'DEFAULT' if packet.pts in wanted else 'NONREF'
                for frame in codec.decode(packet):
                    if frame.pts in wanted:
                        decoded[frame.pts] = frame
            for frame in codec.decode(None):
                if frame.pts in wanted:
                    decoded[frame.pts] = frame
            codec.flush_buffers()
        return decoded

    def spans(self, wanted: set[int]) -> list[tuple[int, int]]:
        """The first and last packets that must be decoded, from each key frame on."""
        keys = [place for place, packet in enumerate(self.packets) if packet.is_keyframe]
        last = defaultdict(int)
        for place, packet in enumerate(self.packets):
            if packet.pts in wanted:
                # A frame shown before a key frame may need what precedes that key frame
                # even if it is stored behind it.
                before = [key for key in keys
                          if key <= place and self.packets[key].pts <= packet.pts]
                first = before[-1] if before else 0
                last[first] = max(last[first], place)
        return sorted(last.items())

    def decode_all(self) -> Iterator[av.VideoFrame]:
        """All frames in the order in which they are shown."""
        with av.open(self.container.name) as container:
            container.streams.video[0].thread_type = 'NONE'
            yield from container.decode(video=0)

    def check(self) -> None:
        """Decode everything; raises if anything is damaged."""
        count = 0
        for frame in self.decode_all():
            refuse_damaged(frame)
            count += 1
        if count < len(self):
            raise ValueError(f'{len(self) - count} of its {len(self)} frames cannot be '
                             'decoded')

    def close(self) -> None:
        self.container.close()


def refuse_damaged(frame: av.VideoFrame) -> None:
    if frame.is_corrupt:
        raise ValueError('its data are damaged')


class DecordReader:
    """The same by decord."""

    def __init__(self, path: str, num_threads: int = 1) -> None:
        import decord  # there are machines that it has no wheel for

        self.reader = decord.VideoReader(path, num_threads=num_threads)

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def frame_rate(self) -> float:
        return self.reader.get_avg_fps()

    def frames(self, numbers: list[int]) -> list[np.ndarray]:
        return list(self.reader.get_batch(numbers).asnumpy())

    def close(self) -> None:
        del self.reader
