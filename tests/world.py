"""A world on disk: real H.264 files, annotations, and a config that trains on them."""
import atexit
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import open_clip
import torch
from zygote import Process, Zygote

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ['red bar', 'green bar', 'blue bar']

ARCH = dict(
    embed_dim=24,
    vision_cfg=dict(image_size=32, patch_size=8, width=48, layers=3, head_width=12),
    text_cfg=dict(width=16, heads=2, layers=2))

CONFIG = """
_base_ = ['{root}/configs/vita_k400.py']
precision = 'float32'
arch = {arch}
model = dict(
    clip=dict(_delete_=True, arch=arch, pretrained='{world}/clip.pt'),
    cls_head=dict(classes='{world}/classes.txt'))
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=8, frame_interval=4),
    dict(type='DecodeFrames'),
    dict(type='RandAugmentCrop', policy='rand-m7-n4-mstd0.5-inc1',
         area_range=(0.3, 1.0)),
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')]
val_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=8, frame_interval=4, test_mode=True),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 32)),
    dict(type='CenterCrop', crop_size=32),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs')]
test_pipeline = val_pipeline
shared = dict(classes='{world}/classes.txt', data_prefix=dict(video='{world}'))
train_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=False,
    dataset=dict(ann_file='{world}/train.txt', pipeline=train_pipeline, **shared))
val_dataloader = dict(
    batch_size=8, num_workers=1, persistent_workers=False,
    dataset=dict(ann_file='{world}/val.txt', pipeline=val_pipeline, **shared))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=3, eta_min=0, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=0.5, end=4, by_epoch=False)]
default_hooks = dict(logger=dict(interval=1))
log_processor = dict(window_size=1)
"""


def write_video(path: Path, num_frames: int = 40, size: int = 64, colour: int = 0,
                fps: int = 15) -> None:
    """A bar of one colour that moves over a grey ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = 'yuv420p'
        for t in range(num_frames):
            frame = np.full((size, size, 3), 90, np.uint8)
            frame[:, t % (size - 8):t % (size - 8) + 8] = 0
            frame[:, t % (size - 8):t % (size - 8) + 8, colour] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_world(world: Path, num_train: int = 24, num_val: int = 9) -> Path:
    """Videos, annotations, class list, a CLIP; returns the config file."""
    for name, count in (('train', num_train), ('val', num_val)):
        lines = []
        for index in range(count):
            write_video(world / name / f'{index}.mp4', 30 + index, colour=index % 3)
            lines.append(f'{name}/{index}.mp4 {index % 3}\n')
        (world / f'{name}.txt').write_text(''.join(lines))
    (world / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**ARCH).state_dict(), world / 'clip.pt')
    config = world / 'tiny.py'
    config.write_text(CONFIG.format(root=ROOT, world=world, arch=ARCH))
    return config


@functools.cache
def zygote() -> Zygote:
    """The one of this process; the first start waits for what it imports."""
    server = Zygote()
    atexit.register(server.close)
    return server


def start(*command, cwd: Path, interrupt=signal.SIG_DFL, **env
          ) -> Process | subprocess.Popen:
    """Start a tool of the project the way a user does, in a process group of its own.

    Args:
        interrupt: what SIGINT does at first. Tests that were started in the background
            or under nohup would hand on that it is ignored.
    """
    def reset_signals():
        signal.signal(signal.SIGINT, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    first, *rest = map(str, command)
    env = dict(os.environ, PYTHONPATH=str(ROOT), VIRTUAL_ENV=sys.prefix,
               PYTHONUNBUFFERED='1', OMP_NUM_THREADS='1', **env)
    if first.endswith('.py'):
        return zygote().start(ROOT / first, rest, cwd, env, interrupt)
    return subprocess.Popen(
        [str(ROOT / first), *rest], cwd=cwd, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=reset_signals, env=env)


def run(*command, cwd: Path, **env) -> subprocess.CompletedProcess:
    """Run a tool to its end; stdout holds both streams."""
    process = start(*command, cwd=cwd, **env)
    try:
        output, _ = process.communicate(timeout=240)
    finally:
        kill(process)
    return subprocess.CompletedProcess(command, process.returncode, output)


def start_pair(script, *arguments, cwd: Path, **env) -> list:
    """A tool on two processes as torchrun starts them, without torchrun, which takes as
    long to import as the tool."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    return [start(script, *arguments, '--launcher', 'pytorch', cwd=cwd, RANK=str(rank),
                  LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                  MASTER_PORT=port, **env) for rank in range(2)]


def run_pair(script, *arguments, cwd: Path, **env) -> subprocess.CompletedProcess:
    """The same to its end; stdout is the first one's."""
    ranks = start_pair(script, *arguments, cwd=cwd, **env)
    try:
        outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            kill(rank)
    codes = [rank.returncode for rank in ranks]
    return subprocess.CompletedProcess([script, *arguments], codes[0] or codes[1],
                                       outputs[0])


def kill(process: Process | subprocess.Popen) -> None:
    """SIGKILL to the whole group: nothing gets to tidy up."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def kill_when(process: Process | subprocess.Popen, seen: str) -> str:
    """Kill the group once ``seen`` stands in its output; returns the output till then."""
    output = ''
    deadline = time.monotonic() + 200
    for line in process.stdout:
        output += line
        if seen in line:
            break
        assert time.monotonic() < deadline, output
    else:
        raise AssertionError(f'{seen!r} never came:\n{output}')
    kill(process)
    return output
