"""Reading checkpoints of the released code, and the parity check built on it."""
import json

import numpy as np
import pytest
import torch
from conftest import CLASSES, random_video, tiny_clip_config
from mmaction.registry import MODELS

from reference import Options, logits
from vita_mm.errors import UserError
from vita_mm.released import read_released
from world import run

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
        shared.append(trained[f'{ours}.shared.vectors'])
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
    embedded = clip['token_embedding.weight'][head.sequences.ids_CL]
    padding = clip['token_embedding.weight'][0].expand(len(embedded), 60, -1)
    state['prompt_learner.token_prefix'] = embedded[:, :1]
    state['prompt_learner.token_suffix'] = torch.cat(
        [embedded[:, 1 + head.context.vectors.shape[-2]:], padding], dim=1)
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


def test_parity_check_passes_what_is_equal_and_fails_what_is_not(case):
    folder, _ = case
    done = run('tools/check_parity.py', folder, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert '1 of 1 cases within' in done.stdout
    arrays = dict(np.load(folder / 'case.npz'))
    arrays['logits'] = arrays['logits'] + 1e-4
    np.savez(folder / 'case.npz', **arrays)
    done = run('tools/check_parity.py', folder, cwd=folder)
    assert done.returncode == 1 and 'DIFFERS' in done.stdout


def test_conversion_writes_a_checkpoint_and_the_clip_inside(case):
    folder, _ = case
    done = run('tools/convert_checkpoint.py', 'case.pth', 'ours.pth', '--clip-out',
               'clip.pt', '--vision-heads', 4, '--text-heads', 2, cwd=folder)
    assert done.returncode == 0, done.stdout
    checkpoint = torch.load(folder / 'ours.pth', weights_only=True)
    classes = checkpoint['meta']['cls_head']['classes']
    head = dict(checkpoint['meta']['cls_head'], type='VitaCLIPTextHead')
    model = MODELS.build(dict(
        type='VitaCLIP',
        clip=dict(arch=checkpoint['meta']['clip_config'],
                  pretrained=str(folder / 'clip.pt')),
        backbone=dict(checkpoint['meta']['backbone'], type='VitaCLIPVisionTransformer'),
        cls_head=head))
    model.load_state_dict(checkpoint['state_dict'])  # the same CLIP: accepted
    assert [name.replace('_', ' ') for name in CLASSES] == classes


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
