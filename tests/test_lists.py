"""Lists as editors and file systems make them: read as they are meant, or refused."""
import pytest
from torch.utils.data import DataLoader
from vita_mm.data import ClipDataset, SeededSampler
from vita_mm.data.dataset import check_batches
from vita_mm.errors import UserError
from vita_mm.io.files import fits_a_line, lasting, locate
from vita_mm.labels.class_names import read_classes
from vita_mm.prepare.build import as_lines
from world import CLASSES


def samples(folder, content, **options):
    """File names and labels of a list."""
    (folder / 'list.txt').write_bytes(content)
    data = ClipDataset(str(folder / 'list.txt'), [], classes=CLASSES, **options)
    return [(data.get_data_info(index)['filename'], data.get_data_info(index)['label'])
            for index in range(len(data))]


@pytest.mark.parametrize('content', [
    b'\xef\xbb\xbfa b.mp4 0\nc.mp4 1\n', b'a b.mp4 0\r\nc.mp4 1\r\n',
    b'a b.mp4  0\nc.mp4\t1', b' a b.mp4 \t 0 \n\n\tc.mp4 1\n \n'],
    ids=['byte order mark', 'Windows', 'spaces and tabs', 'empty lines'])
def test_what_an_editor_adds_is_no_part_of_a_name(tmp_path, content):
    assert samples(tmp_path, content) == [('a b.mp4', 0), ('c.mp4', 1)]


@pytest.mark.parametrize('name', [
    'a\u2028b.mp4', 'a\x85b.mp4', 'a\x0cb.mp4', 'a\x1cb.mp4', 'a:b.mp4', 'a  b 1.mp4',
    '\u3000a.mp4', 'a.mp4\xa0', '視頻.mp4', "'a'.mp4"])
def test_any_other_character_is_part_of_a_name(tmp_path, name):
    assert fits_a_line(name)
    assert samples(tmp_path, f'{name} 1\nb.mp4 0\n'.encode()) == [
        (name, 1), ('b.mp4', 0)]


@pytest.mark.parametrize('content, sentence', [
    ('a.mp4 0\n'.encode('utf-16'), 'not text in UTF-8'),
    ('a.mp4 0\n'.encode('utf-16-le'), 'not text in UTF-8'),
    ('a.mp4 0\n'.encode('utf-32'), 'not text in UTF-8'),
    (b'a.mp4 0\nna\xefve.mp4 1\n', 'line 2: .*not text in UTF-8'),
    (b'a.mp4 0\rb.mp4 1\n', 'line 1: there is a carriage return'),
    (b'a.mp4 0\n0\n', 'line 2: .*no label'),
    ('a.mp4 ٢\n'.encode(), 'line 1: the label .* is not an id')])
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path, content, sentence):
    with pytest.raises(UserError, match=f'list.txt.*{sentence}'):
        samples(tmp_path, content)


def test_another_delimiter(tmp_path):
    assert samples(tmp_path, b'a b.mp4,0\nc,d.mp4, 1\n', delimiter=',') == [
        ('a b.mp4', 0), ('c,d.mp4', 1)]


def test_class_names_are_read_the_same_way(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'\xef\xbb\xbfred bar\r\nblue\x0cbar\r\n\r\n')
    assert read_classes(str(path)) == ['red bar', 'blue bar']
    path.write_bytes('red bar\n'.encode('utf-16'))
    with pytest.raises(UserError, match='UTF-16'):
        read_classes(str(path))


@pytest.mark.parametrize('name', ['a\nb.mp4', 'a\rb.mp4', ' a.mp4', 'a.mp4\t', 'a\udcff',
                                  '\ufeffa.mp4', ''])
def test_names_that_a_list_cannot_hold(name):
    assert not fits_a_line(name)
    assert as_lines([name, 'b']).count('\n') == 2
    assert as_lines([name, 'b']).encode().endswith(b'\nb\n')


def test_paths_are_found_from_any_folder(tmp_path, monkeypatch):
    project, elsewhere = tmp_path / 'project', tmp_path / 'elsewhere'
    for folder in (project / 'data', elsewhere):
        folder.mkdir(parents=True)
    monkeypatch.setattr('vita_mm.io.files.ROOT', project)
    (project / 'data' / 'list.txt').write_text('a.mp4 0\n')
    (project / 'data' / 'classes.txt').write_text('\n'.join(CLASSES))
    monkeypatch.chdir(elsewhere)
    data = ClipDataset('data/list.txt', [], classes='data/classes.txt',
                       data_prefix=dict(video='data'))
    assert data.get_data_info(0)['filename'] == str(project / 'data' / 'a.mp4')
    assert locate('') == '' and locate('data/gone.txt') == 'data/gone.txt'
    assert lasting('data/list.txt') == 'data/list.txt'  # moves with the project
    assert lasting(str(project / 'data' / 'list.txt')) == 'data/list.txt'
    (elsewhere / 'own.txt').touch()
    assert lasting('own.txt') == str(elsewhere / 'own.txt')
    assert lasting('openai') == 'openai'
    (elsewhere / 'data').mkdir()
    (elsewhere / 'data' / 'list.txt').touch()
    assert locate('data/list.txt') == 'data/list.txt'  # the current folder is first


class Few(list):
    ann_file = 'few.txt'


def loader(number, size, drop_last=True, processes=1):
    data = Few(range(number))
    sampler = SeededSampler(data, seed=0)
    sampler.world_size, sampler.num_samples = processes, -(-number // processes)
    return DataLoader(data, size, sampler=sampler, drop_last=drop_last)


def test_a_list_shorter_than_a_batch_is_refused():
    for number, size, processes in ((6, 8, 1), (6, 4, 2)):
        with pytest.raises(UserError, match=(
                f'few.txt has {number} videos, fewer than a batch of {size} for each of '
                f'{processes} process.*batch_size={number // processes} or less')):
            check_batches('train', loader(number, size, processes=processes))
    check_batches('train', loader(6, 6))
    check_batches('train', loader(6, 3, processes=2))
    check_batches('train', loader(6, 8, drop_last=False))


def test_an_evaluation_drops_no_videos():
    with pytest.raises(UserError, match='val_dataloader.drop_last would leave videos'):
        check_batches('val', loader(9, 2))
    check_batches('val', loader(9, 2, drop_last=False))
