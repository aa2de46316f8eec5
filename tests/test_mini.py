"""The miniature benchmark: real files, the same for a seed, made once."""
import json
import multiprocessing
import time
from pathlib import Path

import av
import decord
import numpy as np
import open_clip
import pytest
import torch
from vita_mm.mini import Size, build
from vita_mm.mini.clip import CAPTIONS, SIZES
from vita_mm.mini.scene import COLOURS, GROUNDS, MOTIONS, SHAPES, random_scene
from vita_mm.mini.sets import all_splits, supervised_classes
from vita_mm.mini.videos import render_video

SMALL = Size(train_per_class=1, val_per_class=1, motion_train_per_class=1,
             motion_val_per_class=1, zero_shot_per_class=1, clip_steps=2,
             stills_per_look=2)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return build(tmp_path_factory.mktemp('mini'), seed=0, size=SMALL)


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob('*') if path.is_file()}


@pytest.mark.slow
def test_another_seed_gives_other_bytes(world, tmp_path):
    """That one seed gives the same is seen of the second and the killed builder."""
    again = files(world)
    other = files(build(tmp_path / 'other', seed=1, size=SMALL))
    for path in ('videos/ssv2_val/00_000.mp4', 'clip/vit_mini.pt'):
        assert other[path] != again[path]


def test_videos_are_h264_of_several_seconds_and_varied(world):
    lengths, rates = set(), set()
    for path in (world / 'videos' / 'ssv2_train').iterdir():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == 'h264'
            rates.add(stream.average_rate)
        reader = decord.VideoReader(str(path))
        assert reader[0].shape == (96, 96, 3)
        assert 2.9 <= len(reader) / reader.get_avg_fps() <= 5
        lengths.add(len(reader))
    assert len(lengths) > 1 and len(rates) > 1


@pytest.mark.parametrize('motion, opposite', [
    ('growing', 'shrinking'), ('appearing', 'vanishing'),
    ('warming up', 'cooling down')])
def test_opposite_motions_are_the_same_frames_in_reverse(motion, opposite):
    one, other = (
        render_video(random_scene(np.random.default_rng(3), 'red', 'star', name),
                     num_frames=9) for name in (motion, opposite))
    assert not np.array_equal(one[0], one[-1])
    assert all(np.array_equal(a, b) for a, b in zip(one, other[::-1]))


def test_annotations_name_files_that_exist_and_labels_that_have_a_name(world):
    for split in all_splits(SMALL, seed=0):
        names = (world / f'{split.classes_file}.txt').read_text().splitlines()
        rows = [line.split() for line in
                (world / f'{split.name}.txt').read_text().splitlines()]
        assert rows and all((world / path).is_file() for path, _ in rows)
        assert all(int(label) < len(names) for _, label in rows)


def test_zero_shot_classes_are_held_out_and_in_trained_words():
    trained = {action.name for action in supervised_classes()}
    words = set(' '.join(trained).split())
    held_out = {}
    for split in all_splits(SMALL, seed=0):
        if split.name.startswith(('hmdb51', 'ucf101', 'k600')):
            held_out.setdefault(split.name.split('_')[0], set()).update(
                action.name for action in split.classes)
    assert all(not names & trained for names in held_out.values())
    assert all(set(' '.join(names).split()) <= words for names in held_out.values())
    assert sum(map(len, held_out.values())) == len(set.union(*held_out.values()))


def test_no_caption_has_a_word_of_motion():
    spoken = set(' '.join((*CAPTIONS, *COLOURS, *SHAPES, *GROUNDS, *SIZES)).split())
    assert not spoken & {word for motion in MOTIONS for word in motion.split()}


def test_the_clip_is_an_ordinary_open_clip_checkpoint(world):
    config = json.loads((world / 'clip' / 'ViT-Mini.json').read_text())
    model = open_clip.CLIP(**config)
    open_clip.load_checkpoint(model, str(world / 'clip' / 'vit_mini.pt'))
    assert type(model.visual) is open_clip.transformer.VisionTransformer
    image = torch.zeros(1, 3, *model.visual.image_size)
    assert model.encode_image(image).shape == (1, config['embed_dim'])


def test_what_is_there_is_kept_and_what_is_damaged_is_made_again(world):
    before = files(world)
    untouched = world / 'videos' / 'k600' / '00_000.mp4'
    written = untouched.stat().st_mtime_ns
    damaged = world / 'videos' / 'k600' / '01_000.mp4'
    damaged.write_bytes(damaged.read_bytes()[:100])
    (world / 'clip' / 'vit_mini.pt').unlink()
    build(world, seed=0, size=SMALL)
    assert files(world) == before
    assert untouched.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_second_builder_waits_for_the_first(tmp_path, world, capfd):
    """Forked, for each process has locks of its own."""
    root = tmp_path / 'mini'
    builders = [multiprocessing.get_context('fork').Process(
        target=build, args=(root, 0, SMALL)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(120)
        assert builder.exitcode == 0
    assert f'{root} is being built (process ' in capfd.readouterr().err
    assert files(root) == files(world)


def test_what_is_whole_is_not_written_again(world):
    def times():
        return {path: path.stat().st_mtime_ns for path in world.rglob('*')}

    before = times()
    build(world, seed=0, size=SMALL)
    assert times() == before


def test_killed_builders_leave_nothing_that_passes_for_whole(tmp_path, world):
    root = tmp_path / 'mini'
    builder = multiprocessing.get_context('fork').Process(
        target=build, args=(root, 0, SMALL))
    builder.start()
    deadline = time.monotonic() + 60
    while not list(root.rglob('*.mp4')) and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = children_of(builder.pid)
    builder.kill()
    builder.join()
    assert workers
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
    assert files(build(root, seed=0, size=SMALL)) == files(world)


def children_of(process):
    return [int(child) for task in Path(f'/proc/{process}/task').iterdir()
            for child in (task / 'children').read_text().split()]


def is_running(process):
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')')[-1].split()[0] != 'Z'
    except OSError:
        return False
