"""Every mistake of a user ends in one clear sentence and a non-zero exit."""
import pytest
import torch
from conftest import Payload
from vita_mm.cli.main import run
from vita_mm.data import ClipDataset
from vita_mm.errors import UserError
from world import CLASSES, write_video, write_world

READ = [dict(type='OpenVideo'),
        dict(type='SampleFrames', clip_len=8, frame_interval=4, test_mode=True),
        dict(type='DecodeFrames')]


def dataset(folder, lines, **options):
    (folder / 'list.txt').write_text(lines)
    return ClipDataset(str(folder / 'list.txt'), READ, classes=CLASSES,
                       data_prefix=dict(video=str(folder)), **options)


def missing(path):
    pass


def truncated(path):
    write_video(path)
    path.write_bytes(path.read_bytes()[:1500])


def text_file(path):
    path.write_text('not a video\n' * 50)


def empty(path):
    path.touch()


@pytest.mark.parametrize('make, fault', [
    (missing, 'does not exist'), (truncated, 'cannot be decoded'),
    (text_file, 'cannot be decoded'), (empty, 'is an empty file')])
def test_a_video_that_cannot_be_read_is_named(tmp_path, make, fault):
    make(tmp_path / 'clip.mp4')
    with pytest.raises(UserError, match=f'clip.mp4 {fault}'):
        dataset(tmp_path, 'clip.mp4 1\n')[0]


@pytest.mark.parametrize('line', ['clip.mp4', 'clip.mp4 one', 'clip.mp4 -1',
                                  'clip.mp4 3'])
def test_a_bad_annotation_is_named_with_its_line(tmp_path, line):
    with pytest.raises(UserError, match='list.txt, line 2'):
        dataset(tmp_path, f'good.mp4 0\n{line}\n')


def test_an_annotation_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match='nowhere.txt'):
        ClipDataset(str(tmp_path / 'nowhere.txt'), READ, classes=CLASSES)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), num_train=8, num_val=3)


def no_video_where_the_config_says(config, folder):
    # Workers that have failed are waited for.
    return (['train', config, '--cfg-options', 'train_dataloader.num_workers=0',
             f'train_dataloader.dataset.data_prefix.video={folder}'],
            'does not exist; correct its path in the annotations or data_prefix; nor can '
            'others be read')


def class_list_of_wrong_length(config, folder):
    (folder / 'two.txt').write_text('red bar\ngreen bar\n')
    return (['train', config, '--cfg-options',
             f'model.cls_head.classes={folder}/two.txt'], 'the model has 2 classes')


def misspelt_option_of_ours(config, folder):
    return (['train', config, '--cfg-options', 'model.backbone.num_globals=4'],
            'num_globals')


def misspelt_top_level_key(config, folder):
    (folder / 'misspelt.py').write_text(
        f"_base_ = ['{config}']\noptim_wraper = dict(type='OptimWrapper')\n")
    return ['train', folder / 'misspelt.py'], "did you mean 'optim_wrapper'"


def config_that_is_not_there(config, folder):
    return ['train', folder / 'nowhere.py'], 'nowhere.py'


def pickle_with_code(config, folder):
    torch.save(dict(state_dict={}, code=Payload(folder / 'executed')),
               folder / 'hostile.pth')
    return ['test', config, folder / 'hostile.pth'], 'hostile.pth is not loaded'


def checkpoint_without_a_key(config, folder):
    torch.save(dict(state_dict={'backbone.time_embedding': torch.zeros(8, 48)}),
               folder / 'partial.pth')
    return (['test', config, folder / 'partial.pth'],
            'prompts.0.local.vectors is missing')


@pytest.mark.parametrize('make', [
    no_video_where_the_config_says, class_list_of_wrong_length, misspelt_option_of_ours,
    misspelt_top_level_key, config_that_is_not_there, pickle_with_code,
    checkpoint_without_a_key])
def test_a_verb_stops_with_one_sentence(config, tmp_path, monkeypatch, capfd, make):
    (verb, *arguments), sentence = make(config, tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(verb, list(map(str, arguments)))
    assert ended.value.code == 2
    said = capfd.readouterr().err
    *_, last = said.strip().splitlines()
    assert last.startswith('error: ') and sentence in last
    assert 'Traceback' not in said
    assert not (tmp_path / 'executed').exists()
