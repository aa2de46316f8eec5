"""Reading checkpoints of the released code; test_parity.py compares models with them."""
import json

import numpy as np
import open_clip
import pytest
import torch
from conftest import CLASSES, random_video, tiny_clip_config
from mmaction.registry import MODELS
from mmengine.config import Config
from reference import Options, logits
from vita_mm.analysis.parity.models import check_case
from vita_mm.cli.main import run
from vita_mm.errors import UserError
from vita_mm.inference import Predictor
from vita_mm.inference import build_model as build_described
from vita_mm.inference import read_model
from vita_mm.models.vita_clip.checkpoints import (
    projection_report,
    read_released,
    released_checkpoint,
    same_architecture,
)
from world import ROOT

ARCH = tiny_clip_config(quick_gelu=True)
HEADS = dict(vision_heads=4, text_heads=2)


def split_qkv(tensors, ours, released):
    """in_proj of ours as the three projections of the released code."""
    parts = {}
    for kind in ('weight', 'bias'):
        for name, part in zip('qkv', tensors[f'{ours}.in_proj_{kind}'].chunk(3)):
            parts[f'{released}.{name}_proj.{kind}'] = part
        parts[f'{released}.out_proj.{kind}'] = tensors[f'{ours}.out_proj.{kind}']
    return parts


def in_released_names(trained):
    """Trained tensors under the names of the released code, written out."""
    named = {'visual.time_embed': trained['backbone.time_embedding'],
             'prompt_learner.ctx': trained['cls_head.context.vectors'],
             'logit_scale': trained['cls_head.logit_scale']}
    shared = []
    for layer in range(ARCH['vision_cfg']['layers']):
        ours, theirs = f'backbone.prompts.{layer}', f'visual.blocks.{layer}'
        named[f'{theirs}.local_prompts'] = trained[f'{ours}.local.vectors'][None]
        shared.append(trained[f'{ours}.global_prompts.vectors'])
        for kind in ('weight', 'bias'):
            named[f'{theirs}.cls_proj.{kind}'] = trained[f'{ours}.projection.{kind}']
            named[f'{theirs}.summary_ln.{kind}'] = trained[f'{ours}.summary.norm.{kind}']
        named |= split_qkv(trained, f'{ours}.summary.attention',
                           f'{theirs}.summary_attn_layer')
    return named | {'visual.global_prompts': torch.stack(shared)}


def released_state(model, clip, patch_bias):
    """The whole file: CLIP with a bias in its patch embedding, and what was trained."""
    position = clip['visual.positional_embedding'].clone()
    position[1:] -= patch_bias
    state = {'visual.cls_token': clip['visual.class_embedding'],
             'visual.pos_embed': position,
             'visual.patch_embed.proj.weight': clip['visual.conv1.weight'],
             'visual.patch_embed.proj.bias': patch_bias,
             'visual.proj': clip['visual.proj']}
    for kind in ('weight', 'bias'):
        for name in ('ln_pre', 'ln_post'):
            state[f'visual.{name}.{kind}'] = clip[f'visual.{name}.{kind}']
        for layer in range(ARCH['vision_cfg']['layers']):
            ours, theirs = f'visual.transformer.resblocks.{layer}', \
                f'visual.blocks.{layer}'
            for mine, their in (('mlp.c_fc', 'mlp.fc1'), ('mlp.c_proj', 'mlp.fc2'),
                                ('ln_1', 'norm1'), ('ln_2', 'norm2')):
                state[f'{theirs}.{their}.{kind}'] = clip[f'{ours}.{mine}.{kind}']
            state |= split_qkv(clip, f'{ours}.attn', f'{theirs}.attn')
    state |= {f'textual.{key}': value for key, value in clip.items()
              if not key.startswith('visual.') and key != 'logit_scale'}
    state |= in_released_names(model.state_dict())
    head = model.cls_head
    ids = torch.zeros(len(CLASSES), 77, dtype=torch.long)
    for row, sequence in zip(ids, head.sequences[0]):
        row[:len(sequence)] = torch.tensor([token or 0 for token in sequence])
    embedded = clip['token_embedding.weight'][ids]
    state['prompt_learner.token_prefix'] = embedded[:, :1]
    state['prompt_learner.token_suffix'] = \
        embedded[:, 1 + head.context.vectors.shape[-2]:]
    return {f'module.{key}': value.clone() for key, value in state.items()}


@pytest.fixture(params=['csc', 'uc'])
def case(request, build_model, tiny_weights, tmp_path):
    """A folder with one parity case, and the model it was made from."""
    model = build_model(head=dict(context=request.param), arch=ARCH,
                        dtype=torch.float32)
    clip = torch.load(tiny_weights(ARCH), weights_only=True)
    bias = torch.linspace(-0.1, 0.1, 32)
    torch.save(dict(model=released_state(model, clip, bias), next_step=1),
               tmp_path / 'case.pth')
    video, label = random_video()[:, 0].float(), torch.tensor([0, 2])
    options = Options(
        classes=CLASSES, vision_heads=4, text_heads=2, quick_gelu=True, num_frames=4,
        summary=True, local=True, num_global=2, context=request.param)
    trained = {name: parameter.detach().double().requires_grad_()
               for name, parameter in model.named_parameters()}
    scores = logits({key: value.double() for key, value in clip.items()}, trained,
                    video.double(), options)
    torch.nn.functional.cross_entropy(scores, label).backward()
    gradients = in_released_names({name: value.grad for name, value in trained.items()})
    np.savez(tmp_path / 'case.npz', video=video, label=label,
             logits=scores.detach().float(),
             **{f'grad/{name}': value.float() for name, value in gradients.items()})
    (tmp_path / 'case.json').write_text(json.dumps(dict(
        dim=dict(input_size=[16, 16], num_heads=4, text_transformer_heads=2),
        num_frames=4, frames_fed=4, summary=True, local=True, global_=True, num_global=2,
        num_context=3, csc=request.param == 'csc', context_position='end',
        classes=CLASSES, dtype='torch.float32')))
    return tmp_path, model


def test_names_that_are_there_twice(build_model, tiny_weights, tmp_path, capsys):
    """A released checkpoint may have them, a dataset not."""
    names = ['yoga', 'surfing', 'yoga']
    model = build_model(head=dict(context='uc', classes=names), arch=ARCH,
                        dtype=torch.float32)
    file, ours = str(tmp_path / 'released.pth'), str(tmp_path / 'ours.pth')
    torch.save(released_checkpoint(model), file)
    assert run('convert', [file, ours, '--clip-out', f'{tmp_path}/clip.pt',
                           '--vision-heads', '4', '--text-heads', '2']) == 0
    description, state = read_model(ours)
    again = build_described(description, state).eval()
    assert again.cls_head.classes == names
    video = random_video()[:, 0].float()
    with torch.no_grad():
        scores = again.cls_head(again.backbone(video))
        assert torch.equal(scores, model.eval().cls_head(model.backbone(video)))
    assert torch.equal(scores[:, 0], scores[:, 2])
    assert Predictor(ours).classes == ['yoga (class 0)', 'surfing', 'yoga (class 2)']
    with pytest.raises(UserError, match="classes 0 and 1 have the same name 'a'"):
        Predictor(ours, classes=['a', 'a'])


def test_heads_that_cannot_be_guessed_are_asked_for(case):
    with pytest.raises(UserError, match='vision tower has a width of 32.*--vision-heads'):
        read_released(str(case[0] / 'case.pth'), text_heads=2)


def test_the_model_read_is_the_model_written(case):
    folder, model = case
    released = read_released(str(folder / 'case.pth'), **HEADS)
    assert released.backbone == dict(num_frames=4, summary=True, local=True,
                                     num_global=2)
    again = MODELS.build(dict(
        type='VitaCLIP', clip=released.clip,
        backbone=dict(type='VitaCLIPVisionTransformer', **released.backbone),
        cls_head=dict(type='VitaCLIPTextHead', **released.cls_head)))
    again.load_state_dict(released.state_dict())
    video = random_video().float()
    ours, theirs = (one(video, mode='tensor', stage='head') for one in (again, model))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_parity_is_measured(case):
    folder, _ = case
    assert check_case(folder / 'case').equal
    for key, factor in (('logits', 1 + 3e-5), ('grad/visual.time_embed', 1.001)):
        arrays = dict(np.load(folder / 'case.npz'))
        np.savez(folder / 'case.npz', **{**arrays, key: arrays[key] * factor})
        assert check_case(folder / 'case').equal is False
        np.savez(folder / 'case.npz', **arrays)


@pytest.fixture
def convert(capsys):
    """Function: what the verb says."""

    def convert(folder, source, target, *options):
        assert run('convert', [str(folder / source), str(folder / target),
                               *map(str, options)]) == 0
        return capsys.readouterr().out

    return convert


@pytest.mark.parametrize('case', ['uc'], indirect=True)
def test_conversion_there_and_back(case, convert, monkeypatch):
    """What comes out is used without a config, and goes back bit for bit."""
    folder, model = case
    monkeypatch.chdir(folder)  # a path beside it is found from anywhere afterwards
    said = convert(folder, 'case.pth', 'ours.pth', '--clip-out', 'clip.pt',
                   '--vision-heads', 4, '--text-heads', 2)
    assert "'num_context': 3" in said and 'model.cls_head.num_context=3' in said
    assert 'looks trained' in said
    monkeypatch.chdir('/')
    again = build_described(*read_model(str(folder / 'ours.pth')))
    assert again.cls_head.classes == [name.replace('_', ' ') for name in CLASSES]
    video = random_video().float()
    ours, theirs = (one(video, mode='tensor', stage='head') for one in (again, model))
    assert torch.allclose(ours, theirs, atol=1e-5)

    # The bias of the patch embedding is in the position embedding from here on.
    said = convert(folder, 'ours.pth', 'back.pth', '--to', 'released')
    assert 'give --vision-heads 4 --text-heads 2' in said
    convert(folder, 'back.pth', 'ours2.pth', '--clip-out', folder / 'clip2.pt',
            '--vision-heads', 4, '--text-heads', 2)
    once, twice = (torch.load(folder / f'{name}.pth', weights_only=True)['state_dict']
                   for name in ('ours', 'ours2'))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[key], twice[key]) for key in once
               if key != '_extra_state')
    first, second = (torch.load(folder / name, weights_only=True)['model']
                     for name in ('case.pth', 'back.pth'))
    assert first.keys() == second.keys()
    moved = {'module.visual.patch_embed.proj.bias', 'module.visual.pos_embed'}
    assert all(torch.equal(first[key], second[key]) for key in first.keys() - moved)


@pytest.mark.parametrize('position', ['end', 'middle', 'front'])
def test_a_model_of_ours_in_the_released_format_reads_as_itself(
        build_model, tmp_path, position):
    model = build_model(head=dict(context_position=position), arch=ARCH,
                        dtype=torch.float32)
    torch.save(released_checkpoint(model), tmp_path / 'released.pth')
    released = read_released(str(tmp_path / 'released.pth'), context_position=position,
                             **HEADS)
    ours = model.state_dict()
    found = released.state_dict()
    assert ours.keys() == found.keys()
    assert all(torch.equal(ours[key], found[key]) for key in ours
               if key != '_extra_state')
    assert released.clip.identity['sha256'] == model.clip_identity['sha256']
    assert released.cls_head['classes'] == model.cls_head.classes


@pytest.mark.parametrize('arch, backbone, head, sentence', [
    (tiny_clip_config(), {}, {}, 'GELU'),
    (ARCH, dict(local_condition='cls'), {}, 'local_condition'),
    (ARCH, dict(time_embedding=False), {}, 'no time embedding'),
    (ARCH, {}, dict(context='none'), 'manual prompts'),
    (tiny_clip_config(vision=dict(ls_init_value=.1), quick_gelu=True), {}, {},
     'no place for visual.transformer.resblocks.0.ls_1.gamma')])
def test_a_model_that_the_released_code_has_not_is_refused(
        build_model, arch, backbone, head, sentence):
    model = build_model(backbone, head, arch, dtype=torch.float32)
    with pytest.raises(UserError, match=sentence):
        released_checkpoint(model)


@pytest.mark.parametrize('case', ['csc'], indirect=True)
def test_the_options_that_the_verb_prints_make_the_config_fit(case, convert):
    folder, _ = case
    said = convert(folder, 'case.pth', 'ours.pth', '--vision-heads', 4,
                   '--text-heads', 2)
    assert 'Mc = 3' in said and 'model.clip.arch' in said and 'classes (of' in said
    options = said.split('--cfg-options ')[1].split('\n')[0].split()
    config = Config.fromfile(ROOT / 'configs' / 'released' / 'vita_k400.py')
    config.merge_from_dict(dict(option.split('=') for option in options))
    assert config.test_dataloader.dataset.pipeline[1].clip_len == '4'
    released = read_released(str(folder / 'case.pth'), **HEADS)
    for part in ('backbone', 'cls_head'):
        for key in config.model[part].keys() & getattr(released, part).keys() - {
                'classes'}:
            assert str(config.model[part][key]) == str(getattr(released, part)[key])


def test_options_of_the_other_direction_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        run('convert', ['in', 'out', '--to', 'released', '--text-heads', '2'])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert 'error: --text-heads is an option of --to vita_mm' in said


def test_an_architecture_is_known_again_by_all_its_sizes():
    standard = open_clip.get_model_config('ViT-B-16')
    written_out = dict(
        standard, quick_gelu=True,
        vision_cfg=dict(standard['vision_cfg'], head_width=64, mlp_ratio=4.0))
    assert same_architecture(written_out, standard)
    for other in (dict(written_out, embed_dim=768), dict(
            standard, vision_cfg=dict(standard['vision_cfg'], head_width=32))):
        assert not same_architecture(other, standard)


def test_an_untrained_projection_is_told_from_a_trained_one(build_model):
    model = build_model(dtype=torch.float32, scattered=False)
    assert projection_report(model.state_dict()).endswith(
        "zero in 3 of 3 layers, weights within Xavier's bound in 3, uniform "
        '(Kolmogorov-Smirnov, 1 %) in 3: looks untrained')
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=.05)
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(random_video().float(), mode='tensor', stage='head')
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).backward()
        optimizer.step()
    assert projection_report(model.state_dict()).endswith('looks trained')
    assert projection_report({}) == 'P_sum: there is none'


@pytest.mark.parametrize('change, fault', [
    (lambda state: state.update({'module.visual.extra': torch.zeros(1)}),
     'not understood: visual.extra'),
    (lambda state: state.pop('module.visual.blocks.1.mlp.fc1.bias'), 'c_fc.bias'),
    (lambda state: state.pop('module.visual.blocks.0.attn.k_proj.weight'),
     'k_proj.weight'),
    (lambda state: state.pop('module.visual.time_embed'), 'time_embed is missing'),
    (lambda state: state['module.prompt_learner.token_suffix'].add_(1),
     'class tokens'),
], ids=['extra', 'missing', 'partial', 'untrained', 'tokens'])
def test_a_file_not_wholly_understood_is_refused(case, change, fault):
    folder, _ = case
    checkpoint = torch.load(folder / 'case.pth', weights_only=True)
    change(checkpoint['model'])
    torch.save(checkpoint, folder / 'changed.pth')
    with pytest.raises(UserError, match=fault):
        read_released(str(folder / 'changed.pth'), **HEADS)


def test_other_class_names_are_refused(case):
    folder, _ = case
    with pytest.raises(UserError, match='other class names'):
        read_released(str(folder / 'case.pth'), classes=['one', 'two', 'three'], **HEADS)
