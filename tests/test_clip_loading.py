"""Which CLIPs are taken, and where their weights come from."""
import open_clip
import pytest
import torch
from conftest import Payload, tiny_clip_config

from vita_mm.errors import UserError
from vita_mm.models.clip import load_clip, misfit, supported_architectures


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


def test_no_network_is_said(monkeypatch):
    def fail(tag):
        raise OSError('the network is unreachable')

    monkeypatch.setattr(open_clip, 'download_pretrained', fail)
    with pytest.raises(UserError, match='unreachable.*local file'):
        load_clip('ViT-B-16', 'openai')
