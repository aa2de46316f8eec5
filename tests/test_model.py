"""The whole model: equal to the plain reference, and a good MMAction2 recognizer."""
import copy
import itertools
import json
import pickle

import open_clip
import pytest
import torch
from conftest import Payload, model_logits, random_video, scatter, tiny_clip_config
from mmaction.structures import ActionDataSample
from mmengine.optim import OptimWrapper
from mmengine.runner import load_checkpoint
from vita_mm.description import describe, tell_activation
from vita_mm.errors import UserError
from vita_mm.models.common.description import KEY
from vita_mm.models.common.recognizer import pack_identity
from vita_mm.systems import SYSTEMS

NO_PROMPTS = dict(summary=False, local=False, num_global=0)
PREPROCESSOR = dict(type='ActionDataPreprocessor', mean=[120., 115., 105.],
                    std=[70., 65., 60.], format_shape='NCTHW')


# Equality with the reference


@pytest.mark.parametrize('summary, local, num_global',
                         itertools.product([False, True], [False, True], [0, 3]))
def test_every_set_of_prompts(check_reference, summary, local, num_global):
    model = check_reference(
        dict(summary=summary, local=local, num_global=num_global))
    keys = ' '.join(model.state_dict())
    assert ('summary' in keys) == summary
    assert ('local' in keys) == local
    assert ('global_prompts' in keys) == bool(num_global)
    assert ('projection' in keys) == (summary or local)


@pytest.mark.parametrize('num_frames, num_global', [(1, 1), (3, 8), (5, 32)])
def test_any_number_of_frames_and_global_prompts(check_reference, num_frames,
                                                 num_global):
    check_reference(dict(num_frames=num_frames, num_global=num_global),
                    num_frames=num_frames)


@pytest.mark.parametrize('long_clips', ['frame_windows', 'tile'])
@pytest.mark.parametrize('prompts', [{}, dict(summary=False), dict(local=False),
                                     dict(local_condition='cls')])
@pytest.mark.parametrize('times', [2, 3])
def test_longer_clips(check_reference, long_clips, prompts, times):
    check_reference(dict(prompts, num_frames=2, long_clips=long_clips),
                    num_frames=2 * times)


@pytest.mark.parametrize('backbone', [
    dict(local_condition='cls'),
    dict(local_condition='cls', summary=False),
    dict(freeze_summary_proj=True),
    dict(time_embedding=False),
], ids=str)
def test_other_readings_of_the_paper(check_reference, backbone):
    check_reference(backbone)


@pytest.mark.parametrize('arch', [
    tiny_clip_config(quick_gelu=True),
    tiny_clip_config(vision=dict(head_width=16), text=dict(heads=4)),
    tiny_clip_config(vision=dict(patch_size=4, layers=2, mlp_ratio=2.)),
], ids=['quick_gelu', 'heads', 'patches'])
def test_other_clips(check_reference, arch):
    check_reference(arch=arch)


def test_frozen_projection_is_not_trained(build_model):
    model = build_model(dict(freeze_summary_proj=True))
    frozen = {name for name, tensor in model.named_parameters()
              if not tensor.requires_grad}
    assert frozen == {f'backbone.prompts.{layer}.projection.{kind}'
                      for layer in range(3) for kind in ('weight', 'bias')}
    assert frozen < set(model.state_dict())


@pytest.mark.parametrize('arch', [
    tiny_clip_config(),
    tiny_clip_config(quick_gelu=True),
    tiny_clip_config(vision=dict(ls_init_value=0.1), text=dict(ls_init_value=0.1)),
    tiny_clip_config(vision=dict(norm_kwargs=dict(eps=1e-3)),
                     text=dict(norm_kwargs=dict(eps=1e-3))),
    tiny_clip_config(vision=dict(final_ln_after_pool=True)),
    tiny_clip_config(vision=dict(pos_embed_type='sin_cos_2d')),
    tiny_clip_config(text=dict(pool_type='eos', eos_id=49407)),
], ids=['gelu', 'quick_gelu', 'layer_scale', 'eps', 'ln_after_pool', 'sin_cos', 'eos'])
def test_without_prompts_it_is_frozen_clip(build_model, tiny_weights, arch):
    model = build_model(dict(NO_PROMPTS, time_embedding=False),
                        dict(context='none', classes=['yoga', 'air_drumming']), arch)
    clip = open_clip.CLIP(**arch)
    clip.load_state_dict(torch.load(tiny_weights(arch), weights_only=True))
    clip.double().eval()
    video = random_video(num_frames=5)  # any number of frames does
    frames = clip.encode_image(video[:, 0].transpose(1, 2).flatten(0, 1))
    image = frames.unflatten(0, (2, 5)).mean(1)
    text = clip.encode_text(open_clip.SimpleTokenizer()(['yoga', 'air drumming']))
    cosine = torch.cosine_similarity(image[:, None], text[None], dim=-1)
    expected = model.cls_head.logit_scale.exp() * cosine
    assert torch.allclose(model_logits(model, video), expected, rtol=0, atol=1e-9)


def test_initialisation(build_model):
    model = build_model(dict(num_frames=64, num_global=64), scattered=False)
    tensors = model.state_dict()
    bound = (6 / (3 * 8 ** 2 + 32)) ** 0.5
    for kind in ('global_prompts', 'local'):
        vectors = tensors[f'backbone.prompts.1.{kind}.vectors'].abs()
        assert 0.97 * bound < vectors.max() <= bound
        assert vectors.mean() == pytest.approx(bound / 2, rel=0.1)
    bound = (6 / (32 + 32)) ** 0.5
    attention = 'backbone.prompts.1.summary.attention'
    for matrix in (tensors['backbone.prompts.1.projection.weight'],
                   tensors[f'{attention}.out_proj.weight'],
                   *tensors[f'{attention}.in_proj_weight'].chunk(3)):
        assert 0.95 * bound < matrix.abs().max() <= bound
    for name, tensor in tensors.items():
        if 'bias' in name:
            assert not tensor.any(), name
    for name in ('backbone.time_embedding', 'cls_head.context.vectors'):
        assert tensors[name].std() == pytest.approx(0.02, rel=0.2)
    assert tensors['cls_head.logit_scale'] == 2.0  # the CLIP's own


# A recognizer like any other


def sample_batch(views=1, clips=2, num_frames=4):
    """What a data loader gives: uint8 frames and labels."""
    generator = torch.Generator().manual_seed(4)
    shape = (clips, views, 3, num_frames, 16, 16)
    frames = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    samples = [ActionDataSample().set_gt_label(index) for index in range(clips)]
    return dict(inputs=list(frames), data_samples=samples)


def normalised(batch):
    """The frames of a batch as the preprocessor should give them."""
    frames = torch.stack(batch['inputs']).double()
    mean = torch.tensor(PREPROCESSOR['mean']).view(3, 1, 1, 1)
    std = torch.tensor(PREPROCESSOR['std']).view(3, 1, 1, 1)
    return (frames - mean) / std


@pytest.fixture
def recognizer(build_model):
    return build_model(dtype=torch.float32, data_preprocessor=PREPROCESSOR)


def test_loss_mode(recognizer, build_model):
    batch = sample_batch()
    data = recognizer.data_preprocessor(batch, training=True)
    losses = recognizer(**data, mode='loss')
    logits = model_logits(build_model(), normalised(batch))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]))
    assert losses['loss_cls'].item() == pytest.approx(expected.item(), rel=1e-4)
    accuracy = (logits.argmax(1) == torch.tensor([0, 1])).double().mean().item()
    assert losses['top1_acc'].item() == pytest.approx(accuracy)


@pytest.mark.parametrize('test_cfg', [None, dict(max_testing_views=2)])
def test_predict_mode_averages_softmax_over_views(build_model, test_cfg):
    recognizer = build_model(dtype=torch.float32, data_preprocessor=PREPROCESSOR,
                             test_cfg=test_cfg)
    batch = sample_batch(views=3, clips=1)
    sample, = recognizer.test_step(batch)
    views = normalised(batch).transpose(0, 1)
    expected = model_logits(build_model(), views).softmax(1).mean(0)
    assert torch.allclose(sample.pred_score.double(), expected, rtol=0, atol=1e-5)
    assert sample.pred_label.item() == expected.argmax().item()


def test_tensor_mode_gives_unit_features(recognizer):
    data = recognizer.data_preprocessor(sample_batch(views=3))
    features = recognizer(data['inputs'])
    assert features.shape == (6, 24)
    assert torch.allclose(features.norm(dim=1), torch.ones(6))


def test_logits_stay_in_float32_under_autocast(build_model):
    model = build_model(dtype=torch.float32)
    video = random_video().float()
    with torch.autocast('cpu', torch.bfloat16):
        given = model_logits(model, video)
    assert given.dtype == torch.float32
    assert torch.allclose(given, model_logits(model, video), rtol=0, atol=0.3)


@pytest.mark.gpu
def test_gpu_agrees(build_model):
    expected = model_logits(build_model(), random_video())
    model = build_model(dtype=torch.float32).cuda()
    given = model_logits(model, random_video().float().cuda())
    assert torch.allclose(given.double().cpu(), expected, rtol=0, atol=1e-3)


# Frozen means frozen


def clip_tensors(model):
    """All tensors of the CLIP inside, by name."""
    towers = dict(vision=model.backbone.tower.module, text=model.cls_head.tower.module)
    return {f'{side}.{name}': tensor for side, tower in towers.items()
            for name, tensor in tower.state_dict().items()}


def test_clip_does_not_train(recognizer):
    before = {name: tensor.clone() for name, tensor in clip_tensors(recognizer).items()}
    trained = {name: tensor.detach().clone()
               for name, tensor in recognizer.named_parameters()}
    optimizer = torch.optim.AdamW(recognizer.parameters(), lr=0.01, weight_decay=0.5)
    recognizer.train()
    assert not recognizer.backbone.tower.module.training
    assert not recognizer.cls_head.tower.module.training
    recognizer.train_step(sample_batch(), OptimWrapper(optimizer))
    for name, tensor in clip_tensors(recognizer).items():
        assert torch.equal(tensor, before[name]), name
    for name, tensor in recognizer.named_parameters():
        assert not torch.equal(tensor, trained[name]), name
    assert len(optimizer.state) == len(trained)


def test_clip_is_nowhere_among_the_trained(recognizer):
    addresses = {tensor.data_ptr() for tensor in clip_tensors(recognizer).values()}
    assert len(addresses) > 50
    for tensors in (recognizer.parameters(), recognizer.buffers(),
                    [value for value in recognizer.state_dict().values()
                     if isinstance(value, torch.Tensor)]):
        assert not addresses & {tensor.data_ptr() for tensor in tensors}
    names = {name for name, _ in recognizer.named_parameters()}
    assert set(recognizer.state_dict()) == names | {'_extra_state'}


def test_clip_moves_with_the_model(recognizer):
    recognizer.to(torch.bfloat16)
    kinds = {tensor.dtype for tensor in clip_tensors(recognizer).values()}
    assert kinds == {torch.bfloat16}


def test_init_weights_keeps_the_clip(recognizer):
    before = {name: tensor.clone() for name, tensor in clip_tensors(recognizer).items()}
    recognizer.init_weights()
    for name, tensor in clip_tensors(recognizer).items():
        assert torch.equal(tensor, before[name]), name


def test_a_copy_stands_alone(build_model):
    model = build_model()
    expected = model_logits(model, random_video())
    twin = copy.deepcopy(model)
    scatter(model, seed=9)
    model.float()
    assert torch.equal(model_logits(twin, random_video()), expected)


# Checkpoints


def load_directly(model, state, folder):
    model.load_state_dict(state)


def load_with_mmengine(model, state, folder):
    path = folder / 'checkpoint.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), path)
    load_checkpoint(model, str(path))


both_ways = pytest.mark.parametrize('load', [load_directly, load_with_mmengine])


@both_ways
def test_checkpoint_round_trip(build_model, tmp_path, load):
    model, other = build_model(), build_model()
    scatter(other, seed=9)
    assert not torch.equal(model_logits(model, random_video()),
                           model_logits(other, random_video()))
    load(other, model.state_dict(), tmp_path)
    assert torch.equal(model_logits(model, random_video()),
                       model_logits(other, random_video()))


def rename(state):
    state['backbone.time_embed'] = state.pop('backbone.time_embedding')


def add(state):
    state['backbone.surplus'] = torch.zeros(3)


def reshape(state):
    state['backbone.time_embedding'] = state['backbone.time_embedding'][:2]


def drop_identity(state):
    del state['_extra_state']


def damage_identity(state):
    state['_extra_state'] = torch.zeros(3)


@both_ways
@pytest.mark.parametrize('spoil, named', [
    (rename, ['backbone.time_embedding is missing', 'backbone.time_embed is not']),
    (add, ['backbone.surplus']),
    (reshape, ['backbone.time_embedding', '(2, 32)', '(4, 32)']),
    (drop_identity, ['_extra_state']),
    (damage_identity, ['_extra_state']),
])
def test_checkpoint_that_does_not_fit(build_model, tmp_path, load, spoil, named):
    model = build_model()
    state = model.state_dict()
    spoil(state)
    with pytest.raises(UserError) as caught:
        load(model, state, tmp_path)
    for words in named:
        assert words in str(caught.value)


@both_ways
@pytest.mark.parametrize('part, change, named', [
    ('backbone', dict(summary=False), 'backbone.prompts.0.summary'),
    ('backbone', dict(num_frames=8), 'backbone.time_embedding'),
    ('head', dict(context='uc'), 'cls_head.context.vectors'),
    ('head', dict(context='none'), 'cls_head.context.vectors'),
])
def test_checkpoint_of_other_options(build_model, tmp_path, load, part, change, named):
    state = build_model(**{part: change}).state_dict()
    with pytest.raises(UserError, match=named):
        load(build_model(), state, tmp_path)


@both_ways
def test_checkpoint_of_another_clip(build_model, tiny_weights, tmp_path, load):
    other = tiny_weights(seed=7)
    state = build_model(clip=dict(pretrained=other)).state_dict()
    with pytest.raises(UserError, match='another CLIP') as caught:
        load(build_model(), state, tmp_path)
    assert other in str(caught.value)


@both_ways
@pytest.mark.parametrize('change', [
    dict(quick_gelu=True), dict(vision=dict(head_width=16))], ids=str)
def test_checkpoint_of_a_clip_with_other_settings(build_model, tiny_weights, tmp_path,
                                                  load, change):
    """The same weights with another activation or other heads are another CLIP."""
    weights = tiny_weights()
    model = build_model(clip=dict(pretrained=weights))
    other = build_model(arch=tiny_clip_config(**change), clip=dict(pretrained=weights))
    with pytest.raises(UserError, match='same weights but other settings'):
        load(other, model.state_dict(), tmp_path)
    load(build_model(), model.state_dict(), tmp_path)


@pytest.mark.parametrize('arch, pretrained, quick, loads, note', [
    ('ViT-B-16', 'openai', True, True, False),
    ('ViT-B-16', 'openai', False, False, False),
    ('ViT-B-16', 'laion2b_s34b_b88k', False, True, False),
    ('ViT-B-16', 'laion2b_s34b_b88k', True, False, False),
    ('ViT-B-16-quickgelu', '/some/file.pt', True, True, False),
    ('ViT-B-16-quickgelu', '/some/file.pt', False, False, False),
    ('ViT-B-16', '/some/file.pt', True, True, True),
    ('ViT-B-16', '/some/file.pt', False, True, True),
    ('custom', 'None', True, True, True)])
def test_old_checkpoint_does_not_say_its_activation(
        build_model, tiny_weights, monkeypatch, arch, pretrained, quick, loads, note):
    said = []
    monkeypatch.setattr('vita_mm.models.common.recognizer.print_log',
                        lambda text, *_: said.append(text))
    model = build_model(clip=dict(quick_gelu=quick))
    state = model.state_dict()
    old = {key: value for key, value in model.clip_identity.items() if key != 'settings'}
    state['_extra_state'] = pack_identity(
        dict(old, arch=arch, pretrained=pretrained), model.cls_head.classes)
    if loads:
        model.load_state_dict(state)
    else:
        with pytest.raises(UserError, match=r'other settings \((Quick)?GELU\)'):
            model.load_state_dict(state)
    assert len(said) == note


@pytest.mark.parametrize('clip, loads', [
    (dict(quick_gelu=True), True), (dict(quick_gelu=False), False), ({}, False),
    (dict(arch=tiny_clip_config(quick_gelu=True)), True),
    (dict(arch='ViT-B-16', pretrained='openai'), True),
    (dict(arch='ViT-B-16', pretrained='/some/file.pt'), False)], ids=str)
def test_old_checkpoint_whose_description_says_its_activation(build_model, clip, loads):
    """The model has QuickGELU."""
    model = build_model(clip=dict(quick_gelu=True))
    description = describe(
        dict(clip=dict(dict(arch=tiny_clip_config(), pretrained='gone.pt'), **clip),
             cls_head=dict(classes=['a', 'b']),
             data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1])),
        [dict(type='SampleFrames', clip_len=4, frame_interval=2)],
        system=SYSTEMS['vita_clip'])
    state = model.state_dict()
    old = {key: value for key, value in model.clip_identity.items() if key != 'settings'}
    state['_extra_state'] = pack_identity(old, model.cls_head.classes)
    checkpoint = dict(state_dict=state, meta={KEY: json.dumps(description)})
    tell_activation(checkpoint)
    if loads:
        model.load_state_dict(checkpoint['state_dict'])
    else:
        with pytest.raises(UserError, match='other settings .*GELU'):
            model.load_state_dict(checkpoint['state_dict'])
    tell_activation(dict(state_dict={}))
    tell_activation(dict(state_dict=dict(_extra_state=torch.zeros(3)), meta={}))


@both_ways
@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_checkpoint_of_a_failed_training(build_model, tmp_path, load, value):
    state = build_model().state_dict()
    state['backbone.time_embedding'][1, 3] = value
    with pytest.raises(UserError, match='values of backbone.time_embedding that are not'):
        load(build_model(), state, tmp_path)


@both_ways
@pytest.mark.parametrize('classes', [
    ['riding a bike', 'air_drumming', 'juggling'],
    ['yoga', 'riding a bike', 'air_drumming'],
], ids=['others', 'reordered'])
def test_checkpoint_of_other_classes(build_model, tmp_path, load, classes):
    state = build_model(head=dict(classes=classes)).state_dict()
    with pytest.raises(UserError, match='classes'):
        load(build_model(), state, tmp_path)


@both_ways
@pytest.mark.parametrize('context', ['csc', 'uc'])
def test_zero_shot_takes_a_trained_checkpoint(build_model, tmp_path, load, context):
    trained = build_model(head=dict(context=context))
    state = trained.state_dict()
    model = build_model(head=dict(context='none', classes=['juggling', 'skiing']))
    scatter(model, seed=9)
    load(model, state, tmp_path)
    assert 'cls_head.context.vectors' in state  # the caller's dict is his own
    features = [one(random_video()) for one in (model, trained)]
    assert torch.equal(*features)
    assert torch.equal(model.cls_head.logit_scale, trained.cls_head.logit_scale)


def test_unified_context_takes_other_classes(build_model):
    trained = build_model(head=dict(context='uc'))
    model = build_model(head=dict(context='uc', classes=['juggling', 'skiing']))
    model.load_state_dict(trained.state_dict())


def test_checkpoint_runs_no_code(build_model, tmp_path):
    model = build_model()
    state = dict(model.state_dict(), surplus=Payload(tmp_path / 'executed'))
    with pytest.raises(pickle.UnpicklingError):
        load_with_mmengine(model, state, tmp_path)
    assert not (tmp_path / 'executed').exists()


# Errors


@pytest.mark.parametrize('part, change, named', [
    ('backbone', dict(local_condition='raw'), ['local_condition', 'raw', 'projection']),
    ('backbone', dict(long_clips='loop'), ['long_clips', 'loop', 'tile']),
    ('backbone', dict(num_frames=0), ['num_frames', '0']),
    ('backbone', dict(num_global=-1), ['num_global', '-1']),
    ('backbone', dict(num_global='8'), ['num_global', "'8'"]),
    ('head', dict(context='class'), ['context', 'class', 'csc']),
    ('head', dict(context_position='start'), ['context_position', 'start', 'front']),
    ('head', dict(num_context=0), ['num_context', '0']),
])
def test_value_of_an_option(build_model, part, change, named):
    with pytest.raises(UserError) as caught:
        build_model(**{part: change})
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize('part', ['backbone', 'head', 'clip'])
def test_unknown_option(build_model, part):
    with pytest.raises(TypeError, match='num_promts'):
        build_model(**{part: dict(num_promts=3)})


@pytest.mark.parametrize('shape, named', [
    ((6, 16, 16), ['6', '4']),
    ((3, 16, 16), ['3', '4']),
    ((4, 24, 16), ['24x16', '16x16']),
    ((4, 32, 32), ['32x32', '16x16']),
])
def test_shape_of_a_clip(build_model, shape, named):
    with pytest.raises(UserError) as caught:
        build_model()(torch.zeros(1, 1, 3, *shape).double())
    for words in named:
        assert words in str(caught.value)
