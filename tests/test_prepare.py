"""Datasets as distributed become lists of videos, and smaller copies."""
import json
import os
import runpy
import signal
import sys
import time

import av
import pytest
from vita_mm.data import ClipDataset
from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes
from vita_mm.labels.splits import read_candidates, read_split
from vita_mm.prepare import prepare
from vita_mm.prepare.kinetics import part_of
from vita_mm.prepare.resize import copy_size, resize_video
from world import ROOT, kill, start, write_video

NUM_FRAMES = 12
K400 = read_classes('kinetics400')
NEW220 = read_classes('kinetics600_new220')
SSV2 = read_classes('ssv2')
HEADER = 'label,youtube_id,time_start,time_end,split\n'


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp('video')
    files = {suffix: folder / f'video{suffix}'
             for suffix in ('.mp4', '.avi', '.mkv')}
    for file in files.values():
        write_video(file, NUM_FRAMES)
    return files


@pytest.fixture
def put(tmp_path, video):
    """Function: put a real video at each path below ``root``."""

    def put(*paths, root='raw'):
        for path in paths:
            file = tmp_path / root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            # The content matters to the decoder, the name to us: webm is a kind of mkv.
            source = video[{'.webm': '.mkv'}.get(file.suffix.lower(),
                                                 file.suffix.lower())]
            os.link(source, file)
        return tmp_path / root

    return put


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lines(path):
    return path.read_text().splitlines()


def prepared(out):
    return json.loads((out / 'prepared.json').read_text())


def snapshot(folder):
    """Every file's text and every link's target."""
    return {path.name: os.readlink(path) if path.is_symlink() else path.read_text()
            for path in folder.iterdir()}


def load(out, name, classes):
    """Every sample's label; each video is opened and decoded."""
    dataset = ClipDataset(
        str(out / f'{name}.txt'), [dict(type='OpenVideo'), dict(
            type='SampleFrames', clip_len=4, frame_interval=1, test_mode=True),
            dict(type='DecodeFrames')],
        classes=classes, data_prefix=dict(video=str(out / 'videos')))
    return [dataset[index]['label'] for index in range(len(dataset))]


def of_all_splits(dataset, extra=()):
    """Official paths that make no list empty: two of every combination of parts."""
    parts = {}
    for split in (1, 2, 3):
        for part in ('train', 'test'):
            for path, _ in read_split(dataset, part, split):
                parts.setdefault(path, []).append((part, split))
    chosen = {}
    for path, where in parts.items():
        chosen.setdefault(tuple(where), []).append(path)
    return sorted({*extra, *(path for paths in chosen.values() for path in paths[-2:])})


def odd_hmdb():
    """Official paths that hold each of the odd letters."""
    paths = [path for path, _ in read_split('hmdb51', 'train', 1)]
    return [next(path for path in paths if letter in path) for letter in '#(!&;[']


def test_hmdb51_by_its_official_lists(put, tmp_path):
    chosen = of_all_splits('hmdb51', odd_hmdb())
    root = put(*(f'hmdb51_org/{path}' for path in chosen))
    out = tmp_path / 'lists'
    counts = prepare('hmdb51', root, out)
    assert list(counts) == [f'{part}_split{split}' for part in ('train', 'test')
                            for split in (1, 2, 3)]
    for split in (1, 2, 3):
        for part in ('train', 'test'):
            name = f'{part}_split{split}'
            official = read_split('hmdb51', part, split)
            wanted = sorted((f'hmdb51_org/{path}', label) for path, label in official
                            if path in chosen)
            assert lines(out / f'{name}.txt') == [f'{path} {label}'
                                                  for path, label in wanted]
            assert load(out, name, 'hmdb51') == [label for _, label in wanted]
            missing = lines(out / f'missing_{name}.txt')
            assert missing == sorted({path for path, _ in official} - set(chosen))
            assert counts[name] == (len(official), len(wanted), len(missing), 0)
            assert prepared(out)['lists'][name] == counts[name]._asdict()
    assert os.readlink(out / 'videos') == str(root)


def test_ucf101_in_any_case_and_any_format(put, tmp_path):
    """The folder HandstandPushups holds v_HandStandPushups_*."""
    chosen = of_all_splits('ucf101')
    handstand, label = next(video for video in read_split('ucf101', 'test', 1)
                            if video[0].startswith('Handstand'))
    copied = handstand.replace('Handstand', 'HandStand').replace('.avi', '.MP4')
    root = put(*(f'UCF-101/{path}' for path in chosen if path != handstand),
               f'UCF-101/{copied}')
    counts = prepare('ucf101', root, tmp_path / 'lists')
    assert f'UCF-101/{copied} {label}' in lines(tmp_path / 'lists' / 'test_split1.txt')
    assert counts['test_split1'].official == 3783
    within = prepare('ucf101', root / 'UCF-101', tmp_path / 'within')
    assert within == counts


def test_a_root_that_is_out_is_linked_to_itself_and_read_once(put, tmp_path):
    root = put(*of_all_splits('ucf101'))
    first = prepare('ucf101', root, root)
    assert os.readlink(root / 'videos') == '.'
    listed = lines(root / 'train_split1.txt')
    assert prepare('ucf101', root, root) == first
    assert lines(root / 'train_split1.txt') == listed


def test_links_are_followed_without_going_in_circles(put, tmp_path):
    chosen = of_all_splits('ucf101')
    elsewhere = put(*chosen, root='elsewhere')
    root = tmp_path / 'raw'
    root.mkdir()
    for folder in {path.split('/')[0] for path in chosen}:
        (root / folder).symlink_to(elsewhere / folder)
    (root / 'circle').symlink_to(root)
    (root / 'itself').symlink_to(root / 'itself')
    (root / chosen[0].split('/')[0] / 'back').symlink_to(root)
    link = tmp_path / 'link'
    link.symlink_to(root)
    counts = prepare('ucf101', link, tmp_path / 'lists')
    assert sum(counts['train_split1'][1:3]) == 9537
    assert all(line.rsplit(' ', 1)[0] in chosen
               for line in lines(tmp_path / 'lists' / 'train_split1.txt'))


def test_a_link_to_no_file_is_missing(put, tmp_path):
    chosen = of_all_splits('ucf101')
    gone, _ = next(video for video in read_split('ucf101', 'train', 1)
                   if video[0] not in chosen)
    root = put(*chosen)
    (root / gone).parent.mkdir(exist_ok=True)
    (root / gone).symlink_to('nowhere.avi')
    prepare('ucf101', root, tmp_path / 'lists')
    assert gone in lines(tmp_path / 'lists' / 'missing_train_split1.txt')


@pytest.mark.parametrize('name, part', [
    ('train', 'train'), ('training', 'train'), ('videos_train', 'train'),
    ('train_256', 'train'), ('k400train', 'train'), ('val', 'val'), ('val_256', 'val'),
    ('Validation', 'val'), ('validate', 'val'), ('kinetics_400_val_list', 'val'),
    ('test', None), ('abseiling', None), ('k400', None)])
def test_a_name_tells_the_part(name, part):
    assert part_of(name) == part


def test_kinetics400_in_class_folders(put, tmp_path):
    """Class names lose letters on their way to a folder."""
    root = put('k400/train_256/massaging_persons_head/-aB_c-45678_000001_000011.mp4',
               'k400/train_256/Hurling (sport)/abcdefghijk_000100_000110.MP4',
               'k400/train_256/training dog/abcdefghijl_000100_000110.webm',
               'k400/validate/training_dog/12345678901.mkv',
               'k400/test/zumba/abcdefghijm_000001_000011.mp4')
    out = tmp_path / 'lists'
    counts = prepare('kinetics400', root, out)
    assert lines(out / 'train.txt') == [
        'k400/train_256/Hurling (sport)/abcdefghijk_000100_000110.MP4 '
        f'{K400.index("hurling (sport)")}',
        'k400/train_256/massaging_persons_head/-aB_c-45678_000001_000011.mp4 '
        f'{K400.index("massaging person" + chr(39) + "s head")}',
        'k400/train_256/training dog/abcdefghijl_000100_000110.webm '
        f'{K400.index("training dog")}']
    assert load(out, 'val', 'kinetics400') == [K400.index('training dog')]
    assert counts == dict(train=(None, 3, 0, 0), val=(None, 1, 0, 0))
    assert not list(out.glob('missing_*'))


def test_kinetics400_from_csv_lists(put, tmp_path):
    """Flat folders, a video named by its id alone, and replacements of corrupt ones."""
    root = put('train/_bcd-fgh_jk_000005_000015.mp4', 'train/abcdefghijk.mp4',
               'train/notlistedno_000001_000011.mp4',
               'val/corruptcorr_000003_000013.mp4',
               'replacement/replacement_for_corrupted_k400/'
               'corruptcorr_000003_000013.mp4')
    write(root / 'annotations' / 'kinetics_400_train.csv', HEADER
          + 'air drumming,_bcd-fgh_jk,5,15,train\n"zumba",abcdefghijk,7.0,17.0,train\n'
          + 'zumba,lostlostlos,1,11,train\n')
    write(root / 'annotations' / 'validate.txt',
          HEADER + 'abseiling,corruptcorr,3,13,val\n')
    write(root / 'annotations' / 'val_notes.txt', 'no list\n')
    out = tmp_path / 'lists'
    counts = prepare('kinetics400', root, out)
    assert lines(out / 'train.txt') == ['train/_bcd-fgh_jk_000005_000015.mp4 1',
                                        'train/abcdefghijk.mp4 399']
    assert lines(out / 'missing_train.txt') == ['lostlostlos_000001_000011.mp4']
    assert lines(out / 'val.txt') == [
        'replacement/replacement_for_corrupted_k400/corruptcorr_000003_000013.mp4 0']
    assert counts == dict(train=(3, 2, 1, 0), val=(1, 1, 0, 0))


def test_kinetics_csv_wins_over_the_folder_and_counts(put, tmp_path):
    root = put('train/zumba/abcdefghijk_000001_000011.mp4',
               'train/zumba/unlistedxxx_000001_000011.mp4',
               'val/zumba/abcdefghijl_000001_000011.mp4')
    row = 'air drumming,abcdefghijk,1,11,train\n'
    write(root / 'train.csv', HEADER + row)
    write(root / 'copy' / 'train.csv', HEADER + row)
    counts = prepare('kinetics400', root, tmp_path / 'lists')
    assert counts == dict(train=(1, 1, 0, 0), val=(None, 1, 0, 0))
    assert load(tmp_path / 'lists', 'train', 'kinetics400') == [1]


def test_a_replacement_counts_without_a_csv_too(put, tmp_path):
    root = put('train/zumba/abcdefghijk_000001_000011.mp4',
               'val/zumba/abcdefghijl_000001_000011.mp4',
               'replacement/abcdefghijl_000001_000011.mp4')
    prepare('kinetics400', root, tmp_path / 'lists')
    assert lines(tmp_path / 'lists' / 'val.txt') == [
        'replacement/abcdefghijl_000001_000011.mp4 399']


def official_k600():
    """Two videos for each split."""
    return sorted({video for split in (1, 2, 3)
                   for video in read_split('kinetics600_new220', 'test', split)[:2]})


def k600_classes():
    """A class that is a candidate in all three splits, and one in the first only."""
    first, *others = (set(read_candidates('kinetics600_new220', split))
                      for split in (1, 2, 3))
    return (min(first.intersection(*others)), min(first.difference(*others)))


@pytest.mark.parametrize('with_csv', [False, True])
def test_kinetics600_zero_shot_lists(put, tmp_path, with_csv):
    published = official_k600()
    always, once = k600_classes()
    root = put(*(f'test/{name}' for name, _ in published),
               f'val/{NEW220[always].replace(" ", "_")}/abcdefghijk_000001_000011.mp4',
               f'val/{NEW220[once]}/abcdefghijl_000001_000011.mp4',
               'val/zumba/abcdefghijm_000001_000011.mp4')  # of Kinetics-400
    if with_csv:
        write(root / 'kinetics600_val.csv', HEADER + ''.join(
            f'"{name}",abcdefghij{letter},1,11,val\n' for name, letter in
            ((NEW220[always], 'k'), (NEW220[once], 'l'), ('zumba', 'm'),
             (NEW220[always], 'n'))))
    out = tmp_path / 'lists'
    counts = prepare('kinetics600', root, out)
    for split in (1, 2, 3):
        candidates = read_candidates('kinetics600_new220', split)
        official = read_split('kinetics600_new220', 'test', split)
        assert lines(out / f'er_split{split}.txt') == [
            f'test/{name} {label}' for name, label in published if label in candidates]
        assert counts[f'er_split{split}'].official == len(official)
        expected = sorted(label for label in (always, once) if label in candidates)
        assert sorted(load(out, f'val_split{split}', 'kinetics600_new220')) == expected
        assert counts[f'val_split{split}'] == (
            (len(expected) + 1, len(expected), 1, 0) if with_csv else
            (None, len(expected), 0, 0))
        assert lines(out / f'classes_split{split}.txt') == [
            NEW220[label] for label in candidates]


def ssv2_entry(number, name):
    return dict(id=str(number), label='holding a cup', placeholders=['a cup'],
                template=name.replace('something', '[something]'))


def write_ssv2(root, prefix='', labels=True):
    """Entries for the first class and for the last."""
    write(root / f'{prefix}train.json', json.dumps([
        ssv2_entry(11, SSV2[1]), ssv2_entry(9, SSV2[-1]), ssv2_entry(13, SSV2[2])]))
    write(root / f'{prefix}validation.json', json.dumps([ssv2_entry(14, SSV2[0])]))
    write(root / f'{prefix}test.json', json.dumps([dict(id='15')]))
    if labels:
        write(root / f'{prefix}labels.json', json.dumps(
            {name: str(index) for index, name in enumerate(SSV2)}))


@pytest.mark.parametrize('prefix', ['', 'something-something-v2-'])
def test_ssv2_from_its_json_lists(put, tmp_path, prefix):
    root = put('20bn-something-something-v2/9.webm',
               '20bn-something-something-v2/11.mp4',
               '20bn-something-something-v2/14.webm',
               '20bn-something-something-v2/15.webm')
    write_ssv2(root, prefix)
    out = tmp_path / 'lists'
    counts = prepare('ssv2', root, out)
    assert lines(out / 'train.txt') == ['20bn-something-something-v2/11.mp4 1',
                                        '20bn-something-something-v2/9.webm 173']
    assert load(out, 'val', 'ssv2') == [0]
    assert lines(out / 'missing_train.txt') == ['13.webm']
    assert counts == dict(train=(3, 2, 1, 0), val=(1, 1, 0, 0))
    put('late/13.webm')
    prepare('ssv2', root, out)
    assert not (out / 'missing_train.txt').exists()  # of the earlier run


def nothing_there(put, root):
    pass


def no_videos(put, root):
    root.mkdir()


def packed(put, root):
    write(root / 'kick.rar', 'packed')


def other_dataset(put, root):
    put('kick/somebody_kicks.avi')


def unknown_class(put, root):
    put('train/juggling geese/abcdefghijk_000001_000011.mp4')


def flat_without_csv(put, root):
    put('train/abcdefghijk_000001_000011.mp4')


def csv_file(text):
    def make(put, root):
        put('train/zumba/abcdefghijk_000001_000011.mp4',
            'val/zumba/abcdefghijl_000001_000011.mp4')
        write(root / 'train.csv', text)
    return make


def json_file(name, content):
    def make(put, root):
        put('1.webm')
        write_ssv2(root)
        write(root / name, content if isinstance(content, str) else json.dumps(content))
    return make


def two_train_json(put, root):
    put('1.webm')
    for folder in (root, root / 'copy'):
        write_ssv2(folder, labels=False)


def no_train_json(put, root):
    put('1.webm')


def name_of_two_lines(put, root):
    put('tra\nin/zumba/abcdefghijk_000001_000011.mp4')
    put('train/zumba/x\ny.mp4')
    put('val/zumba/abcdefghijl_000001_000011.mp4')


SWAPPED = {name: str(index) for index, name in enumerate(SSV2)} | {SSV2[0]: '1'}


@pytest.mark.parametrize('name, make, sentence', [
    ('ucf101', nothing_there, 'there is no folder .*raw'),
    ('ucf101', no_videos, 'there are no videos'),
    ('hmdb51', packed, 'only archives such as kick.rar: unpack them first'),
    ('hmdb51', other_dataset, 'does not look like hmdb51: all lists would be empty, for '
                              'there is no video such as brush_hair/'),
    ('kinetics400', unknown_class, "000011.mp4: there is no class 'juggling geese' in "
                                   'kinetics400'),
    ('kinetics600', unknown_class, 'does not look like kinetics600'),
    ('kinetics400', flat_without_csv, 'lies in no folder of a class, and there is no '
                                      'train.csv'),
    ('kinetics400', csv_file('zumba,abcdefghijk,1,11,train\n'),
     'train.csv, line 1: the header has no label, youtube_id, time_start, time_end'),
    ('kinetics400', csv_file(HEADER + 'zumba,abcdefghijk,1,11,train\nzumba,x\n'),
     'train.csv, line 3: '),
    ('kinetics400', csv_file(HEADER + 'zumba,abcdefghijk,one,11,train\n'),
     "train.csv, line 2: .*'one'"),
    ('kinetics400', csv_file(HEADER + 'juggling geese,abcdefghijk,1,11,train\n'),
     "train.csv, line 2: there is no class 'juggling geese'"),
    ('kinetics400', name_of_two_lines, 'cannot stand in a list'),
    ('ssv2', no_train_json, 'there is no train.json'),
    ('ssv2', two_train_json, 'more than one train.json: copy/train.json, train.json'),
    ('ssv2', json_file('train.json', '[\n{"id": 1,,}]'),
     'train.json, line 2: not valid json'),
    ('ssv2', json_file('train.json', {}), 'train.json is not a list'),
    ('ssv2', json_file('train.json', [ssv2_entry(1, SSV2[0]), dict(id='2')]),
     'train.json, entry 2 has no "id" or no "template"'),
    ('ssv2', json_file('train.json', [ssv2_entry(1, 'Juggling geese')]),
     "train.json, entry 1: there is no class 'Juggling geese'"),
    ('ssv2', json_file('labels.json', SWAPPED), "the id '1', which disagrees")])
def test_what_is_not_the_dataset_is_named_and_nothing_is_written(
        put, tmp_path, name, make, sentence):
    make(put, tmp_path / 'raw')
    out = tmp_path / 'lists'
    write(out / 'train.txt', 'an old list\n')
    with pytest.raises(UserError, match=sentence) as caught:
        prepare(name, tmp_path / 'raw', out)
    assert str(tmp_path / 'raw') in str(caught.value)
    assert snapshot(out) == {'train.txt': 'an old list\n'}


def test_an_existing_videos_is_not_replaced(put, tmp_path):
    root = put(*of_all_splits('ucf101'))
    out, other = tmp_path / 'lists', tmp_path / 'other'
    prepare('ucf101', root, out)
    before = snapshot(out)
    put(*of_all_splits('ucf101'), root='other')
    with pytest.raises(UserError, match='is a link to .*raw, where a link to .*other'):
        prepare('ucf101', other, out)
    with pytest.raises(UserError, match='is not a folder, where resized copies'):
        prepare('ucf101', root, out, short_side=32)
    assert snapshot(out) == before
    (out / 'videos').unlink()
    write(out / 'videos' / 'precious.txt', 'precious')
    with pytest.raises(UserError, match='is not a link'):
        prepare('ucf101', root, out)
    with pytest.raises(UserError, match='holds something else'):
        prepare('ucf101', root, out, short_side=32)
    assert (out / 'videos' / 'precious.txt').read_text() == 'precious'
    assert prepare('ucf101', root, root)  # where nothing is in the way


@pytest.mark.parametrize('options', [dict(short_side=33), dict(short_side=0),
                                     dict(workers=0)])
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(UserError, match='must be'):
        prepare('ucf101', tmp_path, tmp_path / 'lists', **options)


def frames_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return dict(size=(frames[0].width, frames[0].height), count=len(frames),
                    times=[frame.time - frames[0].time for frame in frames],
                    rate=float(stream.average_rate))


def write_wide(path, size, num_frames, key_frames='250', times=None):
    """A grey video that gets brighter, 10 frames a second if no times are given."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'g': key_frames})
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p'
        for index in range(num_frames):
            frame = av.VideoFrame(*size, 'gray8')
            frame.planes[0].update(bytes([index * 4]) * frame.planes[0].buffer_size)
            if times:
                frame.pts = times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv'])
def test_a_copy_has_every_frame_at_its_time(tmp_path, suffix):
    source, copy = tmp_path / f'source{suffix}', tmp_path / 'copy.mp4'
    write_wide(source, (96, 64), 40)
    assert resize_video(source, copy, 32) is None
    made = frames_of(copy)
    assert made['size'] == (48, 32) and made['count'] == 40
    assert made['times'] == pytest.approx([index / 10 for index in range(40)], abs=1e-3)
    assert made['rate'] == pytest.approx(10, rel=0.01)
    with av.open(str(copy)) as container:
        assert [frame.to_ndarray(format='gray').mean() for frame in
                container.decode(video=0)] == pytest.approx(
                    [index * 4 for index in range(40)], abs=20)
        container.seek(0)
        keys = [index for index, frame in enumerate(container.decode(video=0))
                if frame.key_frame]
    assert len(keys) == 2 and keys[1] <= 30


def test_uneven_times_stay_uneven(tmp_path):
    source, copy = tmp_path / 'source.mkv', tmp_path / 'copy.mp4'
    write_wide(source, (96, 64), 6, times=[0, 1, 5, 6, 12, 13])
    resize_video(source, copy, 32)
    expected = frames_of(source)['times']
    assert len(set(expected)) == 6
    assert frames_of(copy)['times'] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_odd_names_are_copied_too(put, tmp_path, monkeypatch):
    chosen = of_all_splits('hmdb51', odd_hmdb())
    put(*chosen, root='with: colon')
    monkeypatch.chdir(tmp_path)
    prepare('hmdb51', 'with: colon', 'odd: out', short_side=32, workers=1)
    for path in odd_hmdb():
        copy = tmp_path / 'odd: out' / 'videos' / path.replace('.avi', '.mp4')
        assert frames_of(copy)['count'] == NUM_FRAMES


@pytest.mark.parametrize('size, copied', [
    ((640, 480), (340, 256)), ((480, 640), (256, 340)), ((200, 101), (200, 100)),
    ((256, 256), (256, 256)), ((1920, 1080), (454, 256))])
def test_the_shorter_side_is_as_wanted_and_never_larger(size, copied):
    assert copy_size(*size, 256) == copied


def test_copies_resume_and_broken_videos_are_counted(put, tmp_path):
    chosen = of_all_splits('ucf101')
    by_part = {part: [path for path, _ in read_split('ucf101', part, 1)
                      if path in chosen] for part in ('train', 'test')}
    broken = by_part['train'][0]
    whole = [path for path in chosen if path != broken]
    root = put(*whole)
    write(root / broken, 'not a video')
    out = tmp_path / 'lists'
    counts = prepare('ucf101', root, out, short_side=32, workers=2)
    copies = {path: out / 'videos' / path.replace('.avi', '.mp4') for path in chosen}
    assert not copies[broken].exists() and not list(out.rglob('*.part'))
    assert [copies[path].is_file() for path in whole] == [True] * len(whole)
    made = frames_of(copies[whole[0]])
    assert made['size'] == (32, 32) and made['count'] == NUM_FRAMES
    assert lines(out / 'broken_resize.txt')[0].startswith(f'{broken}: InvalidData')
    found = len(by_part['train'])
    assert counts['train_split1'] == (9537, found, 9537 - found, 1)
    assert prepared(out)['broken'] == 1 and prepared(out)['resize'] == 32
    assert len(lines(out / 'train_split1.txt')) == found - 1
    assert len(load(out, 'train_split1', 'ucf101')) == found - 1
    assert len(load(out, 'test_split1', 'ucf101')) == len(by_part['test'])

    first, lost = (copies[path] for path in whole[:2])
    made_at = first.stat().st_mtime_ns
    lost.unlink()
    lost.with_name(lost.name + '.part').write_text('cut off')
    write_video(root / broken, 5)
    again = prepare('ucf101', root, out, short_side=32, workers=1)
    assert frames_of(lost)['count'] == NUM_FRAMES
    assert first.stat().st_mtime_ns == made_at
    assert not list(out.rglob('*.part')) and not (out / 'broken_resize.txt').exists()
    assert again['train_split1'].broken == 0
    with pytest.raises(UserError, match='holds copies with a short side of 32, where '
                                        'copies with a short side of 64'):
        prepare('ucf101', root, out, short_side=64)


def test_copies_below_the_dataset_are_not_taken_for_it(put, tmp_path):
    root = put(*of_all_splits('ucf101'))
    before = prepare('ucf101', root, root, short_side=32, workers=1)
    assert prepare('ucf101', root, root, short_side=32, workers=1) == before
    assert prepare('ucf101', root, tmp_path / 'lists') == before
    assert not any(line.startswith('videos/') for line in
                   lines(tmp_path / 'lists' / 'train_split1.txt'))


def test_who_only_evaluates_needs_no_training_videos(put, tmp_path):
    root = put('val/zumba/abcdefghijl_000001_000011.mp4')
    write(root / 'train.csv', HEADER + 'zumba,lostlostlos,1,11,train\n')
    write(tmp_path / 'lists' / 'train.txt', 'an old list\n')
    counts = prepare('kinetics400', root, tmp_path / 'lists')
    assert counts == dict(train=(1, 0, 1, 0), val=(None, 1, 0, 0))
    assert not (tmp_path / 'lists' / 'train.txt').exists()


def test_a_dataset_whose_videos_are_all_broken_is_refused(put, tmp_path):
    for part, name in (('train', 'abcdefghijk'), ('val', 'abcdefghijl')):
        write(tmp_path / 'raw' / part / 'zumba' / f'{name}_000001_000011.mp4', '')
    with pytest.raises(UserError, match='all 2 videos are broken: .*11.mp4: InvalidData'):
        prepare('kinetics400', tmp_path / 'raw', tmp_path / 'lists', short_side=32,
                workers=1)
    assert not list((tmp_path / 'lists').glob('*.txt'))


def test_damaged_videos_are_copied_where_that_is_asked_for(put, tmp_path):
    path = 'val/zumba/abcdefghijl_000001_000011.mp4'
    root = put(path)
    write_video(root / path, 20)
    content = bytearray((root / path).read_bytes())
    with av.open(str(root / path)) as container:
        for packet in [*container.demux(video=0)][8:11]:
            end = packet.pos + packet.size
            content[end - packet.size // 2:end] = b'\xff' * (packet.size // 2)
    (root / path).write_bytes(content)
    with pytest.raises(UserError, match='videos are broken'):
        prepare('kinetics400', root, tmp_path / 'strict', short_side=32, workers=1)
    prepare('kinetics400', root, tmp_path / 'lenient', short_side=32, workers=1,
            strict=False)
    assert frames_of(tmp_path / 'lenient' / 'videos' / path)['count']


@pytest.fixture
def run_tool(monkeypatch, tmp_path):
    """Function: run the tool in this process, in a folder of its own."""

    def run_tool(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['prepare_dataset.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / 'prepare_dataset.py'), run_name='__main__')

    return run_tool


def test_the_tool_prints_a_table_and_leaves_the_dataset_alone(
        put, tmp_path, run_tool, capsys):
    root = put('train/zumba/abcdefghijk_000001_000011.mp4',
               'val/zumba/abcdefghijl_000001_000011.mp4')
    before = sorted(root.rglob('*'))
    run_tool('kinetics400', root)
    printed = capsys.readouterr().out
    for word in ('official', 'found', 'missing', 'train', 'val', 'data/kinetics400'):
        assert word in printed
    assert (tmp_path / 'data/kinetics400/videos/train').is_dir()
    assert sorted(root.rglob('*')) == before


def test_the_tool_ends_with_one_sentence(tmp_path, run_tool, capsys):
    with pytest.raises(SystemExit) as ended:
        run_tool('ucf101', tmp_path / 'nowhere')
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f'error: there is no folder {tmp_path}/nowhere\n')
    assert not (tmp_path / 'data').exists()




def test_ctrl_c_leaves_whole_copies_and_the_next_run_goes_on(tmp_path):
    root, out = tmp_path / 'raw', tmp_path / 'lists'
    folders = [root / part / 'zumba' for part in ('train', 'val')]
    for folder in folders:
        folder.mkdir(parents=True)
    write_wide(tmp_path / 'long.mp4', (320, 240), 60)
    for index in range(25):
        for folder in folders:
            os.link(tmp_path / 'long.mp4', folder / f'abcdefgh{index:03d}.mp4')
    process = start('tools/prepare_dataset.py', 'kinetics400', root, '--out', out,
                    '--resize', 64, '--workers', 2, cwd=tmp_path)
    deadline = time.monotonic() + 100
    while not list(out.rglob('*.mp4')) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    kill(process)
    assert process.returncode == 130, output
    assert 'interrupted' in output and 'Traceback' not in output
    copies = list(out.rglob('*.mp4'))
    assert 0 < len(copies) < 50 and not list(out.glob('*.txt'))
    assert all(frames_of(copy)['count'] == 60 for copy in copies)
    made_at = {copy: copy.stat().st_mtime_ns for copy in copies}
    assert prepare('kinetics400', root, out, 64, workers=2)['train'].found == 25
    assert len(list(out.rglob('*.mp4'))) == 50
    assert made_at == {copy: copy.stat().st_mtime_ns for copy in copies}
