"""Models, frames and pixels beside cases that are made here: by the plain references of
the other tests, under the names of the authors' files, and by formulas."""
import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import CLASSES, random_video
from test_comparators import PLAIN, plain_actionclip_loss
from test_released_comparators import RELEASED
from vita_mm.analysis.parity.finding import config_of
from vita_mm.analysis.parity.frames import COLUMNS, check_frames, is_possible
from vita_mm.analysis.parity.models import check_case, gradient_errors
from vita_mm.analysis.parity.pixels import check_pixels, draw_boxes, find_crop
from vita_mm.cli.main import run
from vita_mm.errors import UserError
from wings import ARCH, build_tiny, model_of

# What a case says beside its tensors; of A5 a name ours has not.
SAYS = dict(
    xclip=dict(system='xclip', prompt='{}'), evl=dict(system='evl'),
    actionclip=dict(system='actionclip', templates=['a {}', 'the {} of it'],
                    template_ids=[1, 0], settings=dict(eps=1e-2)),
    efficient_prompt=dict(system='a5', temperature=0.07,
                          settings=dict(prefix=2, postfix=3)),
    vifi_clip=dict(system='vifi', prompt='a photo of a {}.'))
LABELS = [2, 0]


RENAMED = {
    'backbone.tower.module': 'model.visual', 'cls_head.tower.module.': 'model.',
    'cls_head.': 'model.', 'backbone.temporal.layers': 'fusion.transformer.resblocks',
    'backbone.temporal.positions': 'fusion.frame_position_embeddings.weight'}


def in_their_names(name, clip, gradients):
    """Gradients under the names of the released file."""
    if name == 'actionclip':  # whose file is in half precision
        return {theirs + key.removeprefix(ours): value
                for key, value in gradients.items()
                for ours, theirs in RENAMED.items() if key.startswith(ours)
                and not (ours == 'cls_head.' and '.tower.' in key)}
    content = RELEASED[name](gradients, {
        key: value * math.nan for key, value in clip.items()})
    found = content['state_dict' if 'state_dict' in content else 'model']
    return {key.removeprefix('module.'): value for key, value in found.items()
            if not value.isnan().any()}


@pytest.fixture
def make_case(tiny_weights, tmp_path):
    """Function: writes a case of a system; its path without suffix."""

    def make_case(name, classes=CLASSES, temperature=None):
        path = tmp_path / name / name
        path.parent.mkdir()
        model = build_tiny(model_of(name, tiny_weights(ARCH)),
                           exact_in_half=name == 'actionclip')
        if temperature is not None:
            model.cls_head.logit_scale.data.fill_(math.log(temperature))
        clip = torch.load(tiny_weights(ARCH), weights_only=True)
        content = RELEASED[name](model.state_dict(), clip)
        if name == 'vifi_clip':
            key = 'module.prompt_learner.complete_text_embeddings'
            content['model'][key] = content['model'][key][:len(classes)]
        torch.save(content, f'{path}.pth')
        shutil.copy(tiny_weights(ARCH), f'{path}_clip.pth')

        own = {key: value.detach().double().requires_grad_(value.requires_grad)
               for key, value in model.named_parameters()}
        clip = {key: value.double() for key, value in clip.items()}
        for prefix, place in (('backbone.tower.module.', 'visual.'),
                              ('cls_head.tower.module.', '')):
            clip.update({place + key.removeprefix(prefix): value
                         for key, value in own.items() if key.startswith(prefix)})
        labels = LABELS if len(classes) > 1 else [0, 0]
        arrays = plain_answers(name, clip, own, labels, classes)
        arrays |= {f'grad/{key}': value for key, value in in_their_names(
            name, clip, {key: value * math.nan if value.grad is None else value.grad
                         for key, value in own.items()}).items()
            if not value.isnan().any()}
        np.savez(f'{path}.npz', **{key: value.detach().numpy()
                                   for key, value in arrays.items()})
        path.with_suffix('.json').write_text(json.dumps(dict(
            SAYS[name], arch=ARCH, classes=classes, labels=labels)))
        return path

    return make_case


def plain_answers(name, clip, own, labels, classes):
    """What is written out plainly, and its gradients in ``own``."""
    video = random_video()
    names = [one.replace('_', ' ') for one in classes]
    given = dict(names=names) if name == 'vifi_clip' else {}
    scores = PLAIN[name](clip, own, video, **given)
    arrays = dict(video=video[:, 0].float(), logits_float64=scores)
    if name == 'actionclip':
        loss = plain_actionclip_loss(clip, own, video, labels,
                                     SAYS[name]['template_ids'])
        arrays |= dict(probabilities_float64=scores.exp(), loss_float64=loss)
    else:
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
    loss.backward()
    return arrays


def change(path, key, factor):
    """Multiply what a case says in an array."""
    arrays = dict(np.load(path.with_suffix('.npz')))
    arrays[key] = arrays[key] * factor
    np.savez(path.with_suffix('.npz'), **arrays)


# A tensor of what each system adds to CLIP, in the entry of the file.
ADDED = dict(
    xclip=('model', 'mit.positional_embedding'),
    evl=('model', 'module.decoder.cls_token'),
    actionclip=('fusion_model_state_dict', 'module.frame_position_embeddings.weight'),
    efficient_prompt=('state_dict', 'temporalEmbedding.weight'),
    vifi_clip=('model', 'module.image_encoder.proj'))


def weaken(path, name):
    """Make a weight of a checkpoint another."""
    content = torch.load(f'{path}.pth', weights_only=True)
    entry, key = ADDED[name]
    content[entry][key][0] *= 1.0005
    torch.save(content, f'{path}.pth')


@pytest.mark.parametrize('name', RELEASED)
def test_a_model_is_equal_until_a_weight_is_another(make_case, name):
    path = make_case(name)
    found = check_case(path)
    assert found.equal, found.found
    assert 'gradients' in found.found
    weaken(path, name)
    found = check_case(path)
    assert found.equal is False and 'farthest' in found.found


@pytest.mark.parametrize('key, factor', [
    ('logits_float64', 1 + 3e-7), ('logits_float64', math.nan),
    ('grad/logit_scale', 1 + 3e-7), ('grad/logit_scale', math.nan)])
def test_what_differs_in_float64_alone_is_seen(make_case, key, factor):
    path = make_case('vifi_clip')
    change(path, key, factor)
    assert check_case(path).equal is False


def test_one_class_is_measured(make_case):
    """Its cross-entropy has no gradients but zeros."""
    path = make_case('vifi_clip', classes=CLASSES[:1])
    assert not np.load(path.with_suffix('.npz'))['grad/logit_scale'].any()
    found = check_case(path)
    assert found.equal, found.found


def test_errors_are_relative_to_the_logits(make_case):
    """At the temperature that CLIP was trained to, and beyond."""
    path = make_case('vifi_clip', temperature=1e4)
    assert abs(np.load(path.with_suffix('.npz'))['logits_float64']).max() > 100
    found = check_case(path)
    assert found.equal, found.found


def test_gradients_of_key_biases_are_measured_by_the_others():
    theirs = {'a.k_proj.bias': torch.zeros(2), 'b': torch.tensor([100., 1.])}
    ours = {'a.k_proj.bias': torch.full((2, ), 1e-4), 'b': torch.tensor([100., 1.01])}
    errors = gradient_errors(ours, theirs)
    assert errors['a.k_proj.bias'] == pytest.approx(1e-6)
    assert errors['b'] == pytest.approx(1e-4, rel=1e-3)


# Frames and pixels, written out by formulas


def write_rows(path, rows):
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


LENGTHS = (5, 8, 9, 31, 100, 113, 129, 241, 300, 699)


def line(numbers):
    return ' '.join(str(int(number)) for number in numbers)


def frame_rows():
    for system in ('vita_clip', 'evl'):
        yield from strided_rows(system)
    for system in ('xclip', 'vifi'):
        for frames in (8, 32):
            for n in LENGTHS:
                yield (system, 'test', frames, 'segments', 1, 0, '', n, line(
                    (part + .5) * n / frames for part in range(frames)))
        for place in (0, 5, 19):
            yield (system, 'train', 8, 'segments', 1, 0, place, 165, line(
                20 * part + place for part in range(8)))
            yield (system, 'test', 8, 'segments', 4, place % 4, place, 165, line(
                20 * part + place for part in range(8)))
    for frames in (8, 32):
        for n in LENGTHS:
            yield ('actionclip', 'test', frames, 'segments', 1, 0, '', n, line(
                part * n // frames if n <= frames
                else part * n / frames + (n / frames - 1) / 2 for part in range(frames)))
    for place in (0, 5, 19):
        yield ('actionclip', 'train', 8, 'segments', 1, 0, place, 165, line(
            part * 165 // 8 + place for part in range(8)))
    for start in (0, 40, 83):
        yield ('a5', 'train and test', 16, 'random fps', 1, 0, start, 100, line(
            range(start, start + 16)))
        yield ('a5', 'train and test', 16, 'random fps', 1, 0, start, 9, line(
            [*range(9), *[8] * 7]))


def strided_rows(system):
    """Clips of 8 and 16 frames at stride 16, of spans of 113 and 241."""
    for frames in (8, 16):
        span = 16 * (frames - 1) + 1
        for n in LENGTHS:
            left = max(n - span, 0)
            for views in (1, 3):
                for view in range(views):
                    start = left // 2 if views == 1 else round(left * view / 2)
                    yield (system, 'test', frames, 16, views, view, '', n, line(
                        min(start + 16 * part, n - 1) for part in range(frames)))
    for start in (0, 7, 17):
        yield (system, 'train', 8, 16, 1, 0, start, 130, line(
            start + 16 * part for part in range(8)))
        # The last that was taken, again.
        yield (system, 'train', 8, 16, 1, 0, start, 40, line(
            min(16 * part, 32) for part in range(8)))


def test_frames_are_the_same_until_one_is_another(tmp_path):
    path, rows = tmp_path / 'sampling.csv', [list(row) for row in frame_rows()]
    write_rows(path, [*rows, (
        'vita_clip', 'train', 8, 'tsn', 1, 0, 0, 100, line(range(8)))])
    *found, other = check_frames(path)
    assert [row.equal for row in found] == [True] * 22, [
        row for row in found if not row.equal]
    assert other.equal is None and 'otherwise' in other.found
    rows = [row for row in rows if row[0] in ('vita_clip', 'xclip', 'a5')]
    for row in rows:
        numbers = [int(number) for number in row[-1].split()]
        if row[1] == 'test':
            numbers[3] += 1
        else:  # none of a sampler of one stride, or beyond the last part
            numbers = [*numbers[:-2], numbers[-2] + 300, numbers[-1] + 300]
        row[-1] = ' '.join(map(str, numbers))
    write_rows(path, rows)
    assert not any(row.equal for row in check_frames(path))


def test_steps_that_were_seen_often_are_all_that_there_are():
    drawn = np.array([[start, start + step] for start in range(50) for step in (1, 4)])
    assert is_possible(np.array([30, 34]), drawn)
    assert not is_possible(np.array([30, 32]), drawn)
    assert not is_possible(np.array([50, 54]), drawn)
    assert is_possible(np.array([30, 32]), np.concatenate([drawn, [[7, 14]]]))


CLIP_PIXELS = dict(mean=[0.48145466, 0.4578275, 0.40821073],
                   std=[0.26862954, 0.26130258, 0.27577711], of='pixels / 255')
IMAGENET_PIXELS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                       of='pixels of 0 to 255')
SIZES = ((320, 256), (342, 254), (240, 426), (176, 144), (224, 224), (426, 240))


def cut_off(value):
    return int(value)


def rounded(value):
    return int(value + 0.5)


def resized(width, height, side, whole):
    short = min(width, height)
    return [side if length == short else whole(length * side / short)
            for length in (width, height)]


def geometry(whole, one, middle, ends=None):
    """Of each frame size: ``whole`` makes the longer side one of pixels, ``one`` is the
    shorter side before one crop, whose corner is the ``middle`` of what is left over;
    three crops, of a shorter side of 224, begin at ``ends`` of it."""
    cases = []
    for width, height in SIZES:
        found = dict(one_crop=resized(width, height, one, whole))
        case = dict(width=width, height=height, resized=found, one_crop=[dict(zip(
            ('left', 'top'), (middle(side - 224) for side in found['one_crop'])))])
        if ends is not None:
            found['three_crops'] = resized(width, height, 224, whole)
            case['three_crops'] = [dict(left=left, top=top) for left, top in zip(
                *(ends(side - 224) for side in found['three_crops']))]
        cases.append(case)
    return cases


def half(left):
    return left // 2


FLOAT = geometry(cut_off, 224, half, lambda left: (0, left // 2, left))
OPENCV = geometry(rounded, 256, half, lambda left: (0, left // 2, left // 2 * 2))
FIVE = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2))
THIRTEEN = (*FIVE, (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))


def places(width, height, quarters):
    """Crops of the scales 1, .875, .75 and .66 of the shorter side, those of two that
    are neighbours among them, at quarters of what is left over."""
    sides = [int(scale * min(width, height)) for scale in (1, .875, .75, .66)]
    return sorted({
        (left * ((width - wide) // 4), top * ((height - high) // 4),
         left * ((width - wide) // 4) + wide, top * ((height - high) // 4) + high)
        for number, wide in enumerate(sides)
        for high in sides[max(number - 1, 0):number + 2] for left, top in quarters})


def boxes(quarters, *sizes):
    return [dict(resized=size, left_top_right_bottom=places(*size, quarters))
            for size in sizes]


PIXELS = dict(
    systems={
        **{name: dict(normalise=CLIP_PIXELS)
           for name in ('vita_clip', 'evl', 'actionclip', 'a5')},
        **{name: dict(normalise=IMAGENET_PIXELS) for name in ('xclip', 'vifi')}},
    geometry=dict(vita_clip=FLOAT, evl=FLOAT, xclip=OPENCV, vifi=OPENCV,
                  actionclip=geometry(cut_off, 256, lambda left: round(left / 2)),
                  a5=geometry(cut_off, 224, lambda left: round(left / 2))),
    boxes=dict(xclip=boxes(FIVE, (340, 256)), vifi=boxes(FIVE, (256, 454)),
               actionclip=boxes(THIRTEEN, (240, 426))))


def test_pixels_are_the_same_until_a_constant_or_a_corner_is_another(tmp_path, capsys):
    path = tmp_path / 'pixels.json'
    path.write_text(json.dumps(PIXELS))
    found = check_pixels(path)
    assert [row.equal for row in found] == [True] * 19, found
    changed = json.loads(json.dumps(dict(
        systems=dict(a5=PIXELS['systems']['a5']), geometry=dict(xclip=OPENCV),
        boxes=dict(xclip=PIXELS['boxes']['xclip']))))
    changed['systems']['a5']['normalise']['mean'][1] += 1e-6
    changed['geometry']['xclip'][1]['one_crop'][0]['top'] += 1
    changed['geometry']['xclip'][0]['resized']['three_crops'] = [281, 224]
    changed['boxes']['xclip'][0]['left_top_right_bottom'][7][2] += 1
    path.write_text(json.dumps(changed))
    assert [row.equal for row in check_pixels(path)] == [False] * 4
    assert run('parity', [str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.count('DIFFERS') == 4 and '0 of 4 rows are equal' in said
    path.write_text(json.dumps(dict(systems=dict(a5=PIXELS['systems']['a5']))))
    assert run('parity', [str(tmp_path)]) == 0
    assert '1 of 1 rows are equal' in capsys.readouterr().out


def test_all_places_of_a_crop_are_compared(tmp_path):
    """Of a crop of one size in the middle or a corner, on frames of 340 x 256."""
    path = tmp_path / 'pixels.json'
    pipeline = [dict(type='DecodeFrames'), dict(type='Flip', flip_ratio=0.5), dict(
        type='MultiScaleCrop', input_size=224, scales=(1, ), random_crop=False,
        num_fixed_crops=5), dict(type='FormatShape', input_format='NCTHW')]
    crop = find_crop(pipeline, (340, 256))
    places = {(0, 0, 256, 256), (84, 0, 340, 256), (42, 0, 298, 256)}
    assert draw_boxes(crop, (340, 256), places) == places
    assert draw_boxes(crop, (340, 256), set()) == places
    assert find_crop(pipeline[:2] + pipeline[3:], (340, 256)) is None
    path.write_text(json.dumps(dict(boxes=dict(xclip=[dict(
        resized=[340, 256], left_top_right_bottom=sorted(places))]))))
    found, = check_pixels(path)
    assert not found.equal and '0 of its 3 missing' in found.found


# What is no case


def test_files_that_are_not_as_they_should_be_are_refused(tmp_path, make_case, capsys):
    with pytest.raises(SystemExit):
        run('parity', [str(tmp_path)])
    assert 'holds nothing to compare' in capsys.readouterr().err
    table = tmp_path / 'sampling.csv'
    for content, message in (
            ('system,phase\n', 'has no column frames'),
            (','.join(COLUMNS) + '\nevl,test,8,16,1,0,,5,1 2\n',
             'line 2: 2 indices, not 8')):
        table.write_text(content)
        with pytest.raises(UserError, match=message):
            check_frames(table)
    write_rows(table, [('resnet', 'test', 1, 1, 1, 0, '', 5, '1')])
    assert 'no system' in check_frames(table)[0].found
    pixels = tmp_path / 'pixels.json'
    pixels.write_text(json.dumps(dict(
        systems=dict(evl={}), geometry=dict(resnet=[dict(one_crop=[])]))))
    first, second = check_pixels(pixels)
    assert "lacks 'normalise'" in first.found and 'no system' in second.found
    assert first.equal is False and second.equal is False
    path = make_case('evl')
    info = json.loads(path.with_suffix('.json').read_text())
    for changed, message in (
            ({key: value for key, value in info.items() if key != 'arch'},
             "evl.json lacks 'arch'"),
            (dict(info, system='xclip'), 'is not a checkpoint of X-CLIP'),
            (dict(info, system='frozen_clip'), 'no cases are made of frozen CLIP'),
            (dict(info, checkpoints=['evl.pth', 'other.pth']), 'other.pth')):
        path.with_suffix('.json').write_text(json.dumps(changed))
        found = check_case(path)
        assert found.equal is False and message in found.found
    shutil.copy(f'{path}.pth', path.with_name('other.pth'))
    assert check_case(path).equal
    weaken(path, 'evl')
    assert 'holds other weights than evl.pth' in check_case(path).found
    path.with_suffix('.npz').write_bytes(b'')
    with pytest.raises(UserError, match='cannot be read'):
        check_case(path)


def test_the_config_is_that_of_the_authors_code():
    assert config_of('vita_clip').filename.endswith('released/vita_k400.py')
    assert config_of('a6').model.cls_head.type == 'EfficientPromptTextHead'
