"""A trained model on any video file, from its checkpoint alone."""
import json

import pytest
import torch
from mmaction.apis import inference_recognizer, init_recognizer

from vita_mm.description import KEY
from vita_mm.errors import UserError
from vita_mm.inference import Predictor
from world import CLASSES, run, write_world


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp('world'), num_train=8, num_val=3)


@pytest.fixture(scope='module')
def checkpoint(config):
    """Of a short training by the tool."""
    done = run('tools/train.py', config, '--work-dir', config.parent / 'work',
               '--cfg-options', 'train_cfg.max_epochs=1', cwd=config.parent)
    assert done.returncode == 0, done.stdout
    return str(config.parent / 'work' / 'epoch_1.pth')


@pytest.fixture
def video(config):
    return str(config.parent / 'val' / '1.mp4')


def test_it_says_what_mmactions_own_api_says(config, checkpoint, video):
    model = init_recognizer(str(config), checkpoint, device='cpu')
    expected = inference_recognizer(model, video).pred_score.tolist()
    found = dict(Predictor(checkpoint)(video))
    assert list(found) == sorted(found, key=found.get, reverse=True)
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-6)


def test_zero_shot_on_any_classes(checkpoint, video):
    found = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'])(video)
    assert sorted(name for name, _ in found) == ['a red bar', 'juggling', 'surfing']
    assert sum(score for _, score in found) == pytest.approx(1, abs=1e-5)
    other = Predictor(checkpoint, ['surfing', 'a red bar', 'juggling'], 'a video of {}.')
    assert other(video) != found


def test_the_tool_prints_json_and_goes_on_after_a_bad_video(config, checkpoint, video):
    (config.parent / 'bad.mp4').write_text('no video')
    done = run('tools/predict.py', 'bad.mp4', video, 'gone.mp4', '--checkpoint',
               checkpoint, '--dataset', 'ucf101', '--topk', 2, '--json',
               cwd=config.parent)
    assert done.returncode == 2 and 'Traceback' not in done.stdout
    for sentence in ('error: the video bad.mp4 cannot be decoded',
                     'error: the video gone.mp4 does not exist'):
        assert done.stdout.count(sentence) == 1
    row, = json.loads(done.stdout[done.stdout.index('\n[\n'):])
    assert row['video'] == video and len(row['predictions']) == 2
    expected = Predictor(checkpoint, 'ucf101')(video)[:2]
    assert [(found['class'], found['score']) for found in row['predictions']] == expected


def test_the_tool_prints_a_table(config, checkpoint, video):
    done = run('tools/predict.py', video, '--checkpoint', checkpoint, '--classes',
               'red bar, blue bar', cwd=config.parent)
    assert done.returncode == 0, done.stdout
    assert 'probability' in done.stdout and 'blue bar' in done.stdout


def rewrite(checkpoint, path, change):
    content = torch.load(checkpoint, weights_only=True)
    description = json.loads(content['meta'][KEY])
    change(content, description)
    if KEY in content['meta']:
        content['meta'][KEY] = json.dumps(description)
    torch.save(content, path)
    return str(path)


def test_a_checkpoint_that_says_nothing_needs_its_config(config, checkpoint, video,
                                                         tmp_path):
    silent = rewrite(checkpoint, tmp_path / 'silent.pth',
                     lambda content, _: content['meta'].pop(KEY))
    with pytest.raises(UserError, match='silent.pth does not say what model'):
        Predictor(silent)
    assert Predictor(silent, config=str(config))(video) == Predictor(checkpoint)(video)


def test_clip_weights_that_moved_are_given_by_hand(config, checkpoint, video, tmp_path):
    def move(content, description):
        description['clip']['pretrained'] = '/elsewhere/clip.pt'

    moved = rewrite(checkpoint, tmp_path / 'moved.pth', move)
    with pytest.raises(UserError, match='/elsewhere/clip.pt.*give the file'):
        Predictor(moved)
    found = Predictor(moved, clip=str(config.parent / 'clip.pt'))(video)
    assert found == Predictor(checkpoint)(video)


def foreign_type(content, description):
    description['backbone']['type'] = 'os.system'


def foreign_sampler(content, description):
    description['sampling']['type'] = 'os.system'


def other_part(content, description):
    description['command'] = 'rm'


def truth_for_a_number(content, description):
    description['backbone']['num_global'] = True


def no_pixels(content, description):
    description['data_preprocessor']['mean'] = ['a', 'b', 'c']



@pytest.mark.parametrize('change, sentence', [
    (foreign_type, 'there is no backbone.type'), (foreign_sampler, 'sampling.type is none'),
    (other_part, 'it must have clip, '), (no_pixels, 'mean is not three numbers'),
    (truth_for_a_number, 'backbone.num_global cannot be True')])
def test_a_description_is_not_trusted(checkpoint, tmp_path, change, sentence):
    hostile = rewrite(checkpoint, tmp_path / 'hostile.pth', change)
    with pytest.raises(UserError, match=f'not understood .*{sentence}'):
        Predictor(hostile)


def test_a_foreign_checkpoint_is_refused(config, tmp_path):
    torch.save(dict(weights={}), tmp_path / 'foreign.pth')
    with pytest.raises(UserError, match='no state_dict'):
        Predictor(str(tmp_path / 'foreign.pth'), config=str(config))
