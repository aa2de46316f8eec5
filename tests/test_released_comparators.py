"""Checkpoints in the formats that the authors of the rivals released: the names below are
written down from their code, and were not taken from ours."""
import argparse
import json

import pytest
import torch
from conftest import CLASSES, model_logits, random_video
from mmaction.registry import MODELS
from open_clip.tokenizer import SimpleTokenizer
from vita_mm.cli.main import run
from vita_mm.errors import UserError
from vita_mm.io.checkpoints import read_tensors
from vita_mm.models.common.description import KEY
from vita_mm.models.efficient_prompt.checkpoints import told_context
from vita_mm.systems import SYSTEMS
from wings import ARCH, build_tiny, model_of, write_config

BLOCK = [f'{part}.{kind}' for part in ('ln_1', 'ln_2', 'attn.out_proj', 'mlp.c_fc',
                                       'mlp.c_proj') for kind in ('weight', 'bias')] + [
    'attn.in_proj_weight', 'attn.in_proj_bias']
NORM = LINEAR = ['weight', 'bias']


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



def released_a5(state, clip):
    found = {f'clipmodel.{key}': value for key, value in clip.items()}
    found['embedding.weight'] = state['cls_head.context.vectors']
    found['temporalEmbedding.weight'] = state['backbone.temporal.positions']
    for layer in range(2):
        found |= copied(state, f'backbone.temporal.layers.{layer}',
                        f'temporalModelling.resblocks.{layer}', BLOCK)
    return dict(state_dict=found, optimizer={}, iteration=100)


def released_vifi(state, clip):
    found = {'logit_scale': state['cls_head.logit_scale']}
    for key in clip:
        if key.startswith('visual.'):
            bare = key.removeprefix('visual.')
            found[f'image_encoder.{bare}'] = state[f'backbone.tower.module.{bare}']
        elif key not in ('logit_scale', 'token_embedding.weight'):
            found[f'text_encoder.{key}'] = state[f'cls_head.tower.module.{key}']
    tokenizer = SimpleTokenizer()
    ids = torch.stack([tokenizer(f'a photo of a {name.replace("_", " ")}.')[0]
                       for name in CLASSES])
    found['prompt_learner.complete_text_embeddings'] = clip['token_embedding.weight'][ids]
    return dict(model={f'module.{key}': value for key, value in found.items()},
                optimizer={}, lr_scheduler={}, max_accuracy=80., epoch=9)


RELEASED = dict(xclip=released_xclip, evl=released_evl, actionclip=released_actionclip,
                efficient_prompt=released_a5, vifi_clip=released_vifi)
CONVERTED = [name for name, system in SYSTEMS.items() if system.conversion]


@pytest.fixture
def weights(tiny_weights):
    return tiny_weights(ARCH)


@pytest.fixture
def released(weights, tmp_path):
    """Function: a model of a system, a fresh one, and the first as it is released."""

    def write(name, change=lambda content: None):
        own = model_of(name, weights)
        # ActionCLIP saves half of it so.
        model = build_tiny(own, exact_in_half=name == 'actionclip')
        fresh = MODELS.build(own).eval()
        content = RELEASED[name](model.state_dict(), torch.load(weights,
                                                                weights_only=True))
        change(content)
        path = tmp_path / f'{name}.pth'
        torch.save(content, path)
        return model, fresh, str(path)

    return write


def read(path, name, model):
    return SYSTEMS[name].conversion.read(read_tensors(path), path, model)


@pytest.mark.parametrize('name', RELEASED)
def test_the_model_is_the_same(released, name):
    model, fresh, path = released(name)
    content = read_tensors(path)
    assert [other for other in CONVERTED
            if SYSTEMS[other].conversion.recognises(content)] == [name]
    fresh.load_state_dict(read(path, name, fresh).state_dict)
    video = random_video().float()
    with torch.no_grad():
        assert torch.equal(model_logits(fresh, video), model_logits(model, video))


@pytest.mark.parametrize('name', RELEASED)
def test_what_is_written_is_what_their_code_saves(released, name):
    model, _, path = released(name)
    theirs, ours = read_tensors(path), SYSTEMS[name].conversion.write(model)
    for entry, tensors in ours.items():
        assert tensors.keys() == theirs[entry].keys()
        for key, value in tensors.items():
            assert torch.equal(value, theirs[entry][key].float()), key


@pytest.mark.parametrize('name, change, message', [
    ('xclip', lambda content: content['model'].pop('mit.resblocks.0.ln_1.bias'),
     'lacks mit.resblocks.0.ln_1.bias, which X-CLIP has'),
    ('xclip', lambda content: content['model'].update(more=torch.zeros(1)),
     'has keys that are not understood: more'),
    ('xclip', lambda content: content['model']['ln_final.weight'].add_(1),
     'was trained on another CLIP than the one given: ln_final.weight differs'),
    ('efficient_prompt', lambda content: content['state_dict'].pop('embedding.weight'),
     'lacks embedding.weight, which A5/A6 has'),
    ('efficient_prompt', lambda content: content['state_dict'][
        'clipmodel.visual.proj'].add_(1), 'another CLIP .*clipmodel.visual.proj differs'),
    ('vifi_clip', lambda content: content['model'][
        'module.prompt_learner.complete_text_embeddings'].add_(1),
     'are its classes or prompts others'),
    ('evl', lambda content: content['model'].update(
        {'module.decoder.cls_token': torch.zeros(5)}),
     r'decoder.cls_token in .* has shape \(5,\), not \(32,\)')])
def test_what_does_not_fit_is_refused(released, name, change, message):
    _, fresh, path = released(name, change)
    with pytest.raises(UserError, match=message):
        read(path, name, fresh)


def places(prefix, postfix, lengths):
    return {*range(1, prefix + 1), *(prefix + length + place for length in lengths
                                     for place in range(1, postfix + 1))}


@pytest.mark.parametrize('prefix, postfix', [
    (16, 16), (4, 4), (0, 8), (8, 0), (1, 0), (0, 1), (3, 9)])
def test_where_the_vectors_of_a5_stand_is_told_by_the_optimizer(prefix, postfix):
    lengths = {1, 2, 3, 8}
    squares = torch.zeros(77, 4)
    squares[sorted(places(prefix, postfix, lengths))] = 1.
    content = dict(state_dict={'embedding.weight': torch.zeros(77, 4)},
                   optimizer=dict(state={0: dict(exp_avg_sq=torch.ones(3)),
                                         1: dict(exp_avg_sq=squares)}))
    assert told_context(content, lengths) == dict(prefix=prefix, postfix=postfix)
    assert told_context(dict(content, optimizer={}), lengths) == {}


def test_what_an_a5_says_of_its_vectors_is_taken_over(released, weights, tmp_path,
                                                      capsys):
    lengths = {len(SimpleTokenizer().encode(name.replace('_', ' '))) for name in CLASSES}
    squares = torch.zeros(77, 16)
    squares[sorted(places(1, 3, lengths))] = 1.
    _, _, path = released('efficient_prompt', lambda content: content.update(
        optimizer=dict(state={0: dict(exp_avg_sq=squares)})))
    config = write_config(tmp_path / 'own.py', model_of('efficient_prompt', weights))
    out = f'{tmp_path}/ours.pth'
    assert run('convert', [path, out, '--config', config]) == 0
    assert 'model.cls_head.prefix=1 model.cls_head.postfix=3' in capsys.readouterr().out
    head = json.loads(read_tensors(out)['meta'][KEY])['cls_head']
    assert (head['prefix'], head['postfix']) == (1, 3)
    assert run('convert', [out, f'{tmp_path}/back.pth', '--to', 'released']) == 0
    assert '--prefix 1 --postfix 3' in capsys.readouterr().out
    assert 'was trained with a prefix of 1, not of 2, as' in refusal(
        capsys, path, out, '--config', config, '--prefix', '2')
    _, _, path = released('efficient_prompt')  # without a state
    assert run('convert', [path, out, '--config', config, '--postfix', '0']) == 0
    assert 'model.cls_head.postfix=0' in capsys.readouterr().out
    assert '--prefix is not for checkpoints of EVL' in refusal(
        capsys, released('evl')[2], out, '--config', config, '--prefix', '2')


def test_a_model_that_their_code_has_not_is_refused(weights):
    vifi = build_tiny(model_of('vifi_clip', weights, train_embedding=True))
    vifi.cls_head.tower.module.token_embedding.weight.data += 1
    gelu = model_of('xclip', weights)
    gelu['clip']['quick_gelu'] = False
    for name, model, message in (
            ('vifi_clip', vifi, 'does not train cls_head.tower.module.token_embedding'),
            ('xclip', MODELS.build(gelu), 'its CLIP has GELU')):
        with pytest.raises(UserError, match=message):
            SYSTEMS[name].conversion.write(model)
    with pytest.raises(UserError, match='set model.clip.quick_gelu=True'):
        SYSTEMS['xclip'].conversion.read({}, 'x.pth', MODELS.build(gelu))


# The verb


@pytest.mark.parametrize('name', CONVERTED)
def test_there_and_back_is_bit_equal(weights, tmp_path, name):
    own = model_of(name, weights)
    config = write_config(tmp_path / 'own.py', own)
    state = build_tiny(own).state_dict()
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'ours.pth')
    assert run('convert', [f'{tmp_path}/ours.pth', f'{tmp_path}/theirs.pth', '--config',
                           config, '--to', 'released']) == 0
    options = ['--vision-heads', '4', '--text-heads', '2', '--clip-out',
               f'{tmp_path}/clip.pt'] if name == 'vita_clip' else ['--config', config]
    assert run('convert', [f'{tmp_path}/theirs.pth', f'{tmp_path}/again.pth',
                           '--system', name, *options]) == 0
    again = read_tensors(tmp_path / 'again.pth')
    assert json.loads(again['meta'][KEY])['system'] == name
    assert again['state_dict'].keys() == state.keys()
    for key, value in state.items():
        # The CLIP inside a checkpoint of Vita-CLIP is known by its weights, not its name.
        assert key == '_extra_state' or torch.equal(again['state_dict'][key], value)


@pytest.mark.parametrize('new', [True, False], ids=['archive', 'old'])
def test_what_training_saves_beside_the_tensors_is_left_out(released, weights, tmp_path,
                                                            capsys, new):
    """Settings of any class, which the training code of X-CLIP and ViFi-CLIP saves."""
    model, _, path = released('xclip')
    content = torch.load(path, weights_only=True)
    torch.save(dict(content, config=argparse.Namespace(lr=1.)), path,
               _use_new_zipfile_serialization=new)
    config = write_config(tmp_path / 'own.py', model_of('xclip', weights))
    assert run('convert', [path, f'{tmp_path}/ours.pth', '--config', config]) == 0
    assert 'left out unread: config (argparse.Namespace)' in capsys.readouterr().out
    found = read_tensors(tmp_path / 'ours.pth')['state_dict']
    for key, value in model.state_dict().items():
        assert torch.equal(found[key], value), key
    torch.save(dict(model=torch.nn.Linear(1, 1)), path)
    said = refusal(capsys, path, f'{tmp_path}/out.pth', '--config', config)
    assert 'not read, for it holds more than tensors and plain values: model (torch.nn' \
        in said and 'save them alone' in said


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        run('convert', list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_converted_says_why(released, weights, tmp_path, capsys):
    _, _, path = released('evl')
    out = str(tmp_path / 'out.pth')
    xclip, frozen = (write_config(tmp_path / f'{name}.py', model_of(name, weights))
                     for name in ('xclip', 'frozen_clip'))
    for options, sentence in (
            ([], 'such as --config configs/evl/k400.py'),
            (['--config', xclip], 'is of EVL: give the config of such a model'),
            (['--system', 'xclip'], 'is of EVL, not of X-CLIP'),
            (['--system', 'resnet'], "there is no system 'resnet'"),
            (['--config', frozen], 'nothing of frozen CLIP is trained'),
            (['--system', 'frozen_clip'], 'nothing of frozen CLIP is trained'),
            (['--config', xclip, '--classes', 'kinetics400'],
             '--classes is not for checkpoints of EVL'),
            (['--clip', weights], '--clip is the CLIP of the model of --config')):
        assert sentence in refusal(capsys, path, out, *options)
    torch.save(dict(weights={}), tmp_path / 'other.pth')
    assert 'in none of the formats of Vita-CLIP, X-CLIP' in refusal(
        capsys, str(tmp_path / 'other.pth'), out)
    assert 'nothing of frozen CLIP is trained' in refusal(
        capsys, str(tmp_path / 'other.pth'), out, '--to', 'released', '--system',
        'frozen_clip')
    model = MODELS.build(model_of('frozen_clip', weights))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'frozen.pth')
    assert 'nothing of frozen CLIP is trained' in refusal(
        capsys, str(tmp_path / 'frozen.pth'), out, '--to', 'released', '--config', frozen)
    assert not (tmp_path / 'out.pth').exists()
