"""Checkpoints in the formats that X-CLIP, ActionCLIP and EVL released: the names below
are written down from their code, and were not taken from ours."""
import pytest
import torch
from conftest import CLASSES, model_logits, random_video, scatter
from mmaction.registry import MODELS
from test_comparators import ACTIONCLIP, ARCH, EVL, XCLIP
from vita_mm.errors import UserError
from vita_mm.models.common.released import convert, read_comparator
from world import run

BLOCK = [f'{part}.{kind}' for part in ('ln_1', 'ln_2', 'attn.out_proj', 'mlp.c_fc',
                                       'mlp.c_proj') for kind in ('weight', 'bias')] + [
    'attn.in_proj_weight', 'attn.in_proj_bias']
NORM = LINEAR = ['weight', 'bias']


def config(system, weights):
    return dict(type='CLIPRecognizer', clip=dict(arch=ARCH, pretrained=weights),
                backbone=system['backbone'],
                cls_head=dict(system['cls_head'], classes=CLASSES))


def copied(state, ours, theirs, kinds):
    return {f'{theirs}.{kind}': state[f'{ours}.{kind}'] for kind in kinds}


def released_xclip(state, clip):
    found = {key: value for key, value in clip.items() if not key.startswith('visual')}
    found['logit_scale'] = state['cls_head.logit_scale']
    for key in ('class_embedding', 'positional_embedding', 'proj', 'conv1.weight',
                'ln_pre.weight', 'ln_pre.bias', 'ln_post.weight', 'ln_post.bias'):
        found[f'visual.{key}'] = state[f'backbone.tower.module.{key}']
    for layer in range(3):
        block = f'visual.transformer.resblocks.{layer}'
        ours = f'backbone.prompts.{layer}'
        found |= copied(state, f'backbone.tower.module.transformer.resblocks.{layer}',
                        block, BLOCK)
        found |= copied(state, f'{ours}.projection', f'{block}.message_fc', LINEAR)
        found |= copied(state, f'{ours}.summary.norm', f'{block}.message_ln', NORM)
        found |= copied(state, f'{ours}.summary.attention', f'{block}.message_attn', [
            'in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias'])
    found['mit.positional_embedding'] = state['backbone.temporal.positions'][None]
    found |= copied(state, 'backbone.temporal.layers.0', 'mit.resblocks.0', BLOCK)
    found |= copied(state, 'backbone.patch_norm', 'prompts_visual_ln', NORM)
    found['prompts_visual_proj'] = state['backbone.patch_proj']
    ours, theirs = 'cls_head.video_prompts', 'prompts_generator'
    found[f'{theirs}.alpha'] = state[f'{ours}.alpha']
    found |= copied(state, f'{ours}.norm', f'{theirs}.norm', NORM)
    for layer in range(2):
        own, other = f'{ours}.layers.{layer}', f'{theirs}.decoder.{layer}'
        for one, two in (('query', 'q_proj'), ('key', 'k_proj'), ('value', 'v_proj')):
            found[f'{other}.cross_attn.{two}.weight'] = state[f'{own}.{one}.weight']
        for one, two in (('out', 'cross_attn.proj'), ('norm_1', 'norm1'),
                         ('norm_2', 'norm3'), ('mlp.0', 'mlp.0'), ('mlp.2', 'mlp.3')):
            found |= copied(state, f'{own}.{one}', f'{other}.{two}', LINEAR)
    return dict(model=found, optimizer={}, epoch=29)


def released_actionclip(state, clip):
    model = {}
    for key in clip:
        ours = f'cls_head.tower.module.{key}'
        if key.startswith('visual.'):
            ours = f'backbone.tower.module.{key.removeprefix("visual.")}'
        elif key == 'logit_scale':
            ours = 'cls_head.logit_scale'
        model[key] = state[ours].half()
    fusion = {'module.frame_position_embeddings.weight':
              state['backbone.temporal.positions']}
    for layer in range(2):
        fusion |= copied(state, f'backbone.temporal.layers.{layer}',
                         f'module.transformer.resblocks.{layer}', BLOCK)
    return dict(epoch=1, model_state_dict=model, fusion_model_state_dict=fusion)


def released_evl(state, clip):
    found = {'decoder.cls_token': state['backbone.query']}
    for layer in range(2):
        ours, theirs = f'backbone.motion.{layer}', f'decoder.cross_attention.{layer}'
        found[f'{theirs}.w1'] = state[f'{ours}.from_before']
        found[f'{theirs}.w2'] = state[f'{ours}.from_behind']
        found[f'decoder.temporal_pos_embed.{layer}'] = state[f'{ours}.positions']
        found |= copied(state, f'{ours}.conv', f'decoder.temporal_conv.{layer}', LINEAR)
        ours, theirs = f'backbone.decoder.{layer}', f'decoder.decoder_layers.{layer}'
        for kind in LINEAR:
            parts = state[f'{ours}.attention.in_proj_{kind}'].chunk(3)
            found |= {f'{theirs}.attn.{name}_proj.{kind}': part
                      for name, part in zip('qkv', parts)}
        for one, two in (('attention.out_proj', 'attn.out_proj'),
                         ('norm_query', 'norm1'), ('norm_mlp', 'norm2'),
                         ('norm_tokens', 'norm3'), ('mlp.0', 'mlp.fc1'),
                         ('mlp.3', 'mlp.fc2')):
            found |= copied(state, f'{ours}.{one}', f'{theirs}.{two}', LINEAR)
    for layer in (0, 2):
        found |= copied(state, f'cls_head.classifier.{layer}', f'proj.{layer}', LINEAR)
    return dict(model={f'module.{key}': value for key, value in found.items()},
                next_step=50000)


SYSTEMS = {'X-CLIP': (XCLIP, released_xclip), 'EVL': (EVL, released_evl),
           'ActionCLIP': (ACTIONCLIP, released_actionclip)}


@pytest.fixture
def released(tiny_weights, tmp_path):
    """Function: a model of a system, a fresh one, and the first as it is released."""

    def write(name, change=lambda content: None):
        system, release = SYSTEMS[name]
        weights = tiny_weights(ARCH)
        model, fresh = (MODELS.build(config(system, weights)).eval() for _ in range(2))
        scatter(model, seed=4)
        for parameter in model.parameters():  # as ActionCLIP saves its own
            parameter.data = parameter.half().float()
        content = release(model.state_dict(), torch.load(weights, weights_only=True))
        change(content)
        path = tmp_path / 'released.pth'
        torch.save(content, path)
        return model, fresh, str(path)

    return write


@pytest.mark.parametrize('name', SYSTEMS)
def test_the_model_is_the_same(released, name):
    model, fresh, path = released(name)
    layout, tensors = read_comparator(path)
    assert layout.system == name
    fresh.load_state_dict(convert(fresh, layout, tensors, path))
    video = random_video().float()
    with torch.no_grad():
        assert torch.equal(model_logits(fresh, video), model_logits(model, video))


@pytest.mark.parametrize('name, change, message', [
    ('X-CLIP', lambda content: content['model'].pop('mit.resblocks.0.ln_1.bias'),
     'lacks mit.resblocks.0.ln_1.bias, which X-CLIP has'),
    ('X-CLIP', lambda content: content['model'].update(more=torch.zeros(1)),
     'has keys that are not understood: more'),
    ('X-CLIP', lambda content: content['model']['ln_final.weight'].add_(1),
     'was trained on another CLIP than the one given: ln_final.weight differs'),
    ('EVL', lambda content: content['model'].update(
        {'module.decoder.cls_token': torch.zeros(5)}),
     r'decoder.cls_token in .* has shape \(5,\), not \(32,\)')])
def test_what_does_not_fit_is_refused(released, name, change, message):
    _, fresh, path = released(name, change)
    layout, tensors = read_comparator(path)
    with pytest.raises(UserError, match=message):
        convert(fresh, layout, tensors, path)


def test_another_systems_config_is_refused(released):
    _, _, path = released('X-CLIP')
    _, fresh, _ = released('EVL')
    layout, tensors = read_comparator(released('X-CLIP')[2])
    with pytest.raises(UserError, match='is of X-CLIP: give the config of such'):
        convert(fresh, layout, tensors, path)


def test_the_tool_writes_what_our_model_loads(released, tiny_weights, tmp_path):
    model, fresh, path = released('EVL')
    done = run('tools/convert_checkpoint.py', path, 'out.pth', cwd=tmp_path)
    assert done.returncode and 'such as --config configs/evl/k400.py' in done.stdout
    own = tmp_path / 'own.py'
    own.write_text(f'model = {config(EVL, tiny_weights(ARCH))!r}')
    done = run('tools/convert_checkpoint.py', path, 'out.pth', '--config', own,
               cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    fresh.load_state_dict(torch.load(tmp_path / 'out.pth',
                                     weights_only=True)['state_dict'])
    video = random_video().float()
    assert torch.equal(model_logits(fresh, video), model_logits(model, video))
