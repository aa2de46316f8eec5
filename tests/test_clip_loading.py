"""Which CLIPs are taken, and where their weights come from."""
import json
import pickle
import shutil
import socket
import sys
import time
import zipfile

import open_clip
import pytest
import torch
from conftest import Payload, tiny_clip_config
from vita_mm.description import describe
from vita_mm.errors import UserError
from vita_mm.inference import Predictor
from vita_mm.models.common.clip import (
    check_network,
    load_clip,
    misfit,
    supported_architectures,
)
from vita_mm.systems import SYSTEMS


def named_architectures(error):
    """The architectures that an error message offers."""
    return str(error).split('that fit are ')[1].split(', ')


def same_weights(clip, path):
    wanted = torch.load(path, weights_only=True)
    given = clip.model.state_dict()
    return given.keys() == wanted.keys() and all(
        torch.equal(given[key], wanted[key]) for key in wanted)


def uses_quick_gelu(clip):
    blocks = [*clip.model.visual.transformer.resblocks,
              *clip.model.transformer.resblocks]
    kinds = {type(block.mlp.gelu).__name__ for block in blocks}
    assert len(kinds) == 1
    return kinds == {'QuickGELU'}


# Architectures


@pytest.mark.parametrize('name', [
    'ViT-B-32', 'ViT-B-16', 'ViT-L-14', 'ViT-L-14-336', 'ViT-H-14', 'ViT-g-14',
    'ViT-B-32-quickgelu', 'ViT-B-16-quickgelu'])
def test_standard_architectures_fit(name):
    assert misfit(open_clip.get_model_config(name)) is None
    assert name in supported_architectures()


def test_what_fits_is_a_plain_clip():
    for name in supported_architectures():
        config = open_clip.get_model_config(name)
        assert config['text_cfg']['vocab_size'] == 49408, name
        with torch.device('meta'):
            model = open_clip.CLIP(**config)
        assert type(model.visual).__name__ == 'VisionTransformer', name
        kinds = {type(block).__name__ for block in [
            *model.visual.transformer.resblocks, *model.transformer.resblocks]}
        assert kinds == {'ResidualAttentionBlock'}, name


@pytest.mark.parametrize('name', [
    'RN50', 'convnext_base', 'coca_ViT-B-32', 'ViT-B-16-SigLIP', 'roberta-ViT-B-32',
    'vit_medium_patch16_gap_256', 'EVA02-B-16', 'nllb-clip-base'])
def test_other_architectures_do_not_fit(name):
    with pytest.raises(UserError, match=name) as caught:
        load_clip(name)
    assert 'ViT-B-16' in named_architectures(caught.value)


@pytest.mark.parametrize('change', [
    dict(vision=dict(attentional_pool=True)),
    dict(vision=dict(pool_type='avg')),
    dict(vision=dict(no_ln_pre=True)),
    dict(vision=dict(patch_dropout=0.5)),
    dict(vision=dict(layers=[3, 4, 6, 3])),
    dict(vision=dict(timm_model_name='vit_base_patch16_224')),
    dict(text=dict(no_causal_mask=True)),
    dict(text=dict(embed_cls=True)),
    dict(text=dict(pool_type='last')),
    dict(text=dict(hf_tokenizer_name='bert-base-uncased')),
    dict(text=dict(vocab_size=32000)),
    dict(init_logit_bias=-10),
    dict(custom_text=True),
], ids=str)
def test_configurations_that_do_not_fit(change):
    with pytest.raises(UserError, match='does not fit'):
        load_clip(tiny_clip_config(**change))


def test_unknown_architecture():
    with pytest.raises(UserError, match='ViT-B-17') as caught:
        load_clip('ViT-B-17')
    assert 'ViT-B-16' in named_architectures(caught.value)


def test_architecture_from_a_file(tmp_path, tiny_weights):
    path = tmp_path / 'tiny.json'
    path.write_text(str(tiny_clip_config()).replace("'", '"'))
    assert same_weights(load_clip(str(path), tiny_weights()), tiny_weights())


@pytest.mark.parametrize('content', [None, 'not json'])
def test_architecture_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / 'tiny.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match='tiny.json'):
        load_clip(str(path))


# Weights


@pytest.mark.parametrize('wrap', [
    lambda state: state,
    lambda state: dict(state_dict=state, epoch=3),
    lambda state: dict(
        state_dict={f'module.{key}': value for key, value in state.items()}),
], ids=['bare', 'wrapped', 'of_ddp'])
def test_local_weights(tmp_path, tiny_weights, wrap):
    path = tmp_path / 'weights.pt'
    torch.save(wrap(torch.load(tiny_weights(), weights_only=True)), path)
    clip = load_clip(tiny_clip_config(), str(path))
    assert same_weights(clip, tiny_weights())
    assert not any(tensor.requires_grad for tensor in clip.model.parameters())
    assert clip.identity['pretrained'] == str(path)
    # The weights identify a CLIP, not the file they lie in.
    assert clip.identity['sha256'] == load_clip(
        tiny_clip_config(), tiny_weights()).identity['sha256']


def write_text(path, state):
    path.write_text('These are no weights.\n')


def write_other_shapes(path, state):
    torch.save(dict(state, text_projection=torch.zeros(16, 23)), path)


def write_missing(path, state):
    torch.save({k: v for k, v in state.items() if k != 'ln_final.weight'}, path)


def write_another_model(path, state):
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)


def write_list(path, state):
    torch.save([1, 2, 3], path)


def write_truncated(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize('write', [write_text, write_other_shapes, write_missing,
                                   write_another_model, write_list, write_truncated])
def test_file_that_holds_no_such_clip(tmp_path, tiny_weights, write):
    path = tmp_path / 'wrong.pt'
    write(path, torch.load(tiny_weights(), weights_only=True))
    with pytest.raises(UserError, match='wrong.pt'):
        load_clip(tiny_clip_config(), str(path))


@pytest.mark.parametrize('change', [dict(vision=dict(image_size=32)),
                                    dict(text=dict(context_length=64))], ids=str)
def test_weights_are_not_resized(tiny_weights, change):
    # open_clip would interpolate the positions and give another CLIP in silence.
    with pytest.raises(UserError, match='positional_embedding'):
        load_clip(tiny_clip_config(**change), tiny_weights())


def test_weights_run_no_code(tmp_path, tiny_weights):
    path = tmp_path / 'wrong.pt'
    state = torch.load(tiny_weights(), weights_only=True)
    torch.save(dict(state, surplus=Payload(tmp_path / 'executed')), path)
    with pytest.raises(UserError, match='wrong.pt'):
        load_clip(tiny_clip_config(), str(path))
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('arch, tag, named', [
    ('ViT-B-16', 'opanai', ['opanai', 'ViT-B-16', 'openai']),
    (tiny_clip_config(), 'openai', ['openai', 'none']),
    ('ViT-B-16', 'no/such/file.pt', ['no/such/file.pt']),
], ids=['misspelt', 'custom', 'file'])
def test_unknown_tag(arch, tag, named):
    with pytest.raises(UserError) as caught:
        load_clip(arch, tag)
    for words in named:
        assert words in str(caught.value)


@pytest.fixture
def offline_hub(monkeypatch, tiny_weights):
    """All architectures are the tiny one, and the hub gives its weights."""
    configs = open_clip.get_model_config

    def shrunken(name):
        quick_gelu = configs(name).get('quick_gelu', False)
        return tiny_clip_config(quick_gelu=quick_gelu)

    monkeypatch.setattr(open_clip, 'get_model_config', shrunken)
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda tag: tiny_weights())
    monkeypatch.setattr('vita_mm.models.common.clip.find_cached', lambda tag: None)
    monkeypatch.setattr('vita_mm.models.common.clip.check_network', lambda url: None)


@pytest.mark.parametrize('arch, tag, given, expected', [
    ('ViT-B-32', 'openai', None, True),
    ('ViT-B-32', 'laion400m_e32', None, True),
    ('ViT-B-32', 'laion2b_s34b_b79k', None, False),
    ('ViT-B-32-quickgelu', 'openai', None, True),
    ('ViT-B-32', 'openai', False, False),
    ('ViT-B-32', 'laion2b_s34b_b79k', True, True),
])
def test_tag_says_the_activation(offline_hub, tiny_weights, arch, tag, given, expected):
    clip = load_clip(arch, tag, quick_gelu=given)
    assert uses_quick_gelu(clip) == expected
    assert same_weights(clip, tiny_weights())
    assert (clip.identity['arch'], clip.identity['pretrained']) == (arch, tag)


@pytest.mark.parametrize('quick_gelu', [False, True])
def test_local_file_keeps_the_activation_of_the_architecture(tiny_weights, quick_gelu):
    config = tiny_clip_config(quick_gelu=quick_gelu)
    assert uses_quick_gelu(load_clip(config, tiny_weights(config))) == quick_gelu


def test_a_failed_download_is_said(offline_hub, monkeypatch):
    def fail(tag):
        raise OSError('the network is unreachable')

    monkeypatch.setattr(open_clip, 'download_pretrained', fail)
    with pytest.raises(UserError, match='unreachable.*local file'):
        load_clip('ViT-B-16', 'openai')
    with pytest.raises(UserError, match=r'unreachable\): [^.]*; --clip FILE, [^.]*$'):
        Predictor(classes=['surfing'], system='frozen_clip')


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', False)
    for name in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(open_clip, 'download_pretrained',
                        lambda tag: pytest.fail('the network is asked'))
    return tmp_path


def test_without_a_network_the_error_comes_at_once(empty_cache, monkeypatch):
    """The hub's client would try again for most of a minute."""
    with socket.socket() as closed:  # bound but not listening: it answers to nobody
        closed.bind(('127.0.0.1', 0))
        port = closed.getsockname()[1]
        monkeypatch.setattr('huggingface_hub.constants.ENDPOINT',
                            f'http://127.0.0.1:{port}')
        start = time.monotonic()
        with pytest.raises(UserError, match=f'127.0.0.1:{port} is not reached.*local'):
            load_clip('ViT-B-16', 'openai')
    assert time.monotonic() - start < 10


def test_a_proxy_is_asked_in_place_of_the_host(empty_cache, monkeypatch):
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.delenv('NO_PROXY', raising=False)
    with socket.create_server(('127.0.0.1', 0)) as proxy:
        monkeypatch.setenv('https_proxy', f'127.0.0.1:{proxy.getsockname()[1]}')
        check_network('https://hub.invalid/file')
    with pytest.raises(OSError, match='127.0.0.1:.* is not reached'):
        check_network('https://hub.invalid/file')


def test_a_silent_name_server_is_not_waited_for(empty_cache, monkeypatch):
    monkeypatch.setattr('vita_mm.models.common.clip.PATIENCE', 0.2)
    monkeypatch.setattr(socket, 'create_connection', lambda *_: time.sleep(5))
    with pytest.raises(UserError, match='is not reached: no answer within 0.2 s'):
        load_clip('ViT-B-16', 'openai')


def test_offline_mode_asks_no_network(empty_cache, monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(UserError, match='HF_HUB_OFFLINE is set.*local file'):
        load_clip('ViT-B-16', 'openai')


def test_what_is_in_the_cache_needs_no_network(empty_cache, monkeypatch):
    tag = open_clip.get_pretrained_cfg('ViT-B-16', 'openai')
    repository = empty_cache / f"models--{tag['hf_hub'].strip('/').replace('/', '--')}"
    snapshot = repository / 'snapshots' / 'a1b2'
    snapshot.mkdir(parents=True)
    (repository / 'refs').mkdir()
    (repository / 'refs' / 'main').write_text('a1b2')
    (snapshot / 'open_clip_model.safetensors').write_text('no weights')
    with pytest.raises(UserError, match='a1b2/open_clip_model.safetensors is not loaded'):
        load_clip('ViT-B-16', 'openai')


# OpenAI's archives


def write_archive(path, config, weights, openai=True):
    """A TorchScript archive laid out as OpenAI's, in half precision."""
    model = open_clip.CLIP(**config)
    model.load_state_dict(torch.load(weights, weights_only=True))
    if openai:
        for name, value in (('input_resolution', 16), ('context_length', 77),
                            ('vocab_size', 49408)):
            model.__dict__.pop(name, None)  # open_clip's are no buffers
            model.register_buffer(name, torch.tensor(value))
    traced = torch.jit.trace_module(model.eval(), dict(
        encode_image=torch.zeros(1, 3, 16, 16),
        encode_text=torch.zeros(1, 77, dtype=torch.long)), check_trace=False)
    traced.half().save(str(path))
    return {name: tensor.half().float()
            for name, tensor in torch.load(weights, weights_only=True).items()}


@pytest.mark.filterwarnings('ignore:Converting a tensor', 'ignore:.*torch.jit')
@pytest.mark.parametrize('openai, given, expected', [
    (True, None, True), (True, False, False), (False, None, False)])
def test_an_archive_of_openai(tmp_path, tiny_weights, openai, given, expected):
    config = tiny_clip_config()
    wanted = write_archive(tmp_path / 'archive.pt', config, tiny_weights(), openai)
    clip = load_clip(config, str(tmp_path / 'archive.pt'), given)
    state = clip.model.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert uses_quick_gelu(clip) == expected


class Module:
    """Is pickled as a class of an archive's own code."""

    def __init__(self, **attributes):
        self.attributes = attributes

    def __reduce__(self):
        return Module, (), self.attributes


Module.__module__, Module.__qualname__ = '__torch__', 'Module'


def pack(path, module):
    """An archive with this module, without any code."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/constants.pkl', b'\x80\x02).')
        archive.writestr('a/data.pkl', pickled(module))


def pickled(module):
    sys.modules['__torch__'] = sys.modules[__name__]
    try:
        return pickle.dumps(module, 2)
    finally:
        del sys.modules['__torch__']


def test_an_archive_runs_no_code(tmp_path):
    pack(tmp_path / 'hostile.pt', Module(weight=Payload(tmp_path / 'executed')))
    with pytest.raises(UserError, match='hostile.pt is not loaded .*it asks for'):
        load_clip(tiny_clip_config(), str(tmp_path / 'hostile.pt'))
    assert not (tmp_path / 'executed').exists()


def test_an_archive_that_contains_itself_ends(tmp_path):
    module = Module()
    module.attributes['part'] = module
    pack(tmp_path / 'endless.pt', module)
    with pytest.raises(UserError, match='endless.pt is not loaded'):
        load_clip(tiny_clip_config(), str(tmp_path / 'endless.pt'))


def test_weights_that_are_no_numbers(tmp_path, tiny_weights):
    state = torch.load(tiny_weights(), weights_only=True)
    state['visual.proj'][3, 2] = float('nan')
    torch.save(state, tmp_path / 'failed.pt')
    with pytest.raises(UserError, match='failed.pt .*visual.proj has values that'):
        load_clip(tiny_clip_config(), str(tmp_path / 'failed.pt'))


# What identifies a CLIP


@pytest.mark.parametrize('change', [
    dict(quick_gelu=True), dict(vision=dict(head_width=16)), dict(text=dict(heads=4)),
    dict(vision=dict(norm_kwargs=dict(eps=1e-3))), dict(text=dict(pool_type='eos')),
    dict(vision=dict(act_kwargs=dict(approximate='tanh')))], ids=str)
def test_the_same_weights_can_be_another_clip(tiny_weights, change):
    plain = load_clip(tiny_clip_config(), tiny_weights()).identity
    other = load_clip(tiny_clip_config(**change), tiny_weights()).identity
    assert plain['sha256'] == other['sha256']
    assert plain['settings'] != other['settings']
    assert plain['settings'] == ('vision: 4 heads, GELU, eps 1e-05; text: 2 heads, GELU, '
                                 'eps 1e-05, pooled by argmax')


def test_files_are_found_from_any_folder(tmp_path, tiny_weights, monkeypatch):
    (tmp_path / 'project' / 'clip').mkdir(parents=True)
    (tmp_path / 'project' / 'clip' / 'tiny.json').write_text(
        json.dumps(tiny_clip_config()))
    shutil.copy(tiny_weights(), tmp_path / 'project' / 'clip' / 'tiny.pt')
    monkeypatch.setattr('vita_mm.io.files.ROOT', tmp_path / 'project')
    monkeypatch.chdir(tmp_path)
    assert same_weights(load_clip('clip/tiny.json', 'clip/tiny.pt'), tiny_weights())


def test_a_description_names_its_clip_for_any_folder(tmp_path, tiny_weights, monkeypatch):
    folder = tmp_path / 'folder'
    folder.mkdir()
    shutil.copy(tiny_weights(), folder / 'tiny.pt')
    monkeypatch.chdir(folder)
    described = describe(
        dict(clip=dict(arch=tiny_clip_config(), pretrained='tiny.pt'),
             cls_head=dict(classes=['a', 'b']),
             data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1])),
        [dict(type='SampleFrames', clip_len=4, frame_interval=2)],
        system=SYSTEMS['vita_clip'])
    monkeypatch.chdir(tmp_path)
    assert same_weights(load_clip(**described['clip']), tiny_weights())
