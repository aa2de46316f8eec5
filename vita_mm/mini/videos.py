"""Real video files of scenes."""
from pathlib import Path

import av
import numpy as np

from vita_mm.io.files import replacing

from .scene import Painter, Scene

SIDE = 96


def render_video(scene: Scene, num_frames: int) -> list[np.ndarray]:
    """All frames, (SIDE, SIDE, 3) uint8 RGB each, in the order they are played."""
    painter = Painter(scene, SIDE)
    frames = [painter.frame(moment) for moment in np.linspace(0, 1, num_frames)]
    return frames[::-1] if scene.backwards else frames


def write_video(path: Path, scene: Scene, num_frames: int, fps: int) -> None:
    """Write H.264 in mp4; the file is there whole or not at all."""
    with replacing(path) as partial, \
            av.open(str(partial), 'w', format='mp4') as container:
        # x264's macroblock tree does not repeat itself bit for bit, not even on one
        # thread; without it the same frames give the same bytes.
        stream = container.add_stream('libx264', rate=fps, options={
            'preset': 'veryfast', 'crf': '20', 'x264-params': 'mbtree=0:threads=1'})
        stream.width = stream.height = SIDE
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.thread_count = 1
        for frame in render_video(scene, num_frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
