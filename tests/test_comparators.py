"""X-CLIP, ActionCLIP, A5, EVL and ViFi-CLIP, against what they are written out plainly.

Everything is in float64: logits and the gradients of all trained tensors.
"""
import math

import pytest
import reference
import torch
from conftest import CLASSES, model_logits, random_video, scatter
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from reference import attention, feed_forward, layer_norm, linear, unit
from torch import multiprocessing
from torch.nn import functional as F
from vita_mm.errors import UserError
from wings import A5, ACTIONCLIP, ARCH, EVL, VIFI, XCLIP


@pytest.fixture
def build(tiny_weights):
    """Function: a system on a tiny CLIP, all its tensors random, in evaluation mode."""

    def build(system):
        model = MODELS.build(dict(
            type='CLIPRecognizer', clip=dict(arch=ARCH, pretrained=tiny_weights(ARCH)),
            backbone=system['backbone'],
            cls_head=dict(system['cls_head'], classes=CLASSES)))
        scatter(model, seed=1)
        return model.double().eval()

    return build


@pytest.fixture
def tensors(tiny_weights):
    """Function: of a model, the CLIP that it computes with and its own tensors, which
    take gradients."""

    def tensors(model):
        clip = {key: value.double() for key, value in
                torch.load(tiny_weights(ARCH), weights_only=True).items()}
        own = {key: value.detach().clone().requires_grad_(value.requires_grad)
               for key, value in model.named_parameters()}
        for prefix, place in (('backbone.tower.module.', 'visual.'),
                              ('cls_head.tower.module.', '')):
            clip.update({place + key.removeprefix(prefix): value
                         for key, value in own.items() if key.startswith(prefix)})
        return clip, own

    return tensors


def check(model, own, expected, given):
    """Compare results and the gradients that a random weighting of them gives."""
    assert given.dtype == torch.float64
    assert torch.allclose(given, expected, rtol=0, atol=1e-9)
    weights = torch.randn(given.shape, generator=torch.Generator().manual_seed(3))
    (given * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and own[name].grad is not None:
            error = (parameter.grad - own[name].grad).norm()
            assert error <= 1e-8 * own[name].grad.norm() + 1e-12, name
        else:
            assert parameter.grad is None or not parameter.grad.any(), name


def options(**given):
    return reference.Options(**dict(dict(
        classes=CLASSES, vision_heads=4, text_heads=2, quick_gelu=True, num_frames=4,
        summary=False, local=False, num_global=0, time_embedding=False), **given))


def frame_features(clip, frames):
    """F x 3 x H x W -> F x E."""
    tokens = [reference.frame_tokens(clip, frame, 0) for frame in frames]
    return torch.stack(reference.encode_frames(clip, {}, tokens, options()))


def temporal(own, frames, num_layers, residual, eps=1e-5):
    """The mean of the frames' E-vectors after layers over them."""
    name = 'backbone.temporal'
    x = frames + own[f'{name}.positions'][:len(frames)]
    for layer in range(num_layers):
        place = f'{name}.layers.{layer}'
        x = x + attention(layer_norm(x, own, f'{place}.ln_1', eps), own, f'{place}.attn',
                          heads=2)
        x = x + feed_forward(layer_norm(x, own, f'{place}.ln_2', eps), own,
                             f'{place}.mlp', quick=True)
    return (x + frames if residual else x).mean(0)


def text(clip, phrase):
    """The E-vector of a phrase."""
    words = reference.embed(clip, reference.TOKENIZER.encode(phrase))
    return reference.encode_text(clip, *reference.padded(clip, [words]), options())


NAMES = [name.replace('_', ' ') for name in CLASSES]


def plain_vifi_clip(clip, own, video, names=NAMES):
    rows = []
    classes = torch.stack([unit(text(clip, f'a photo of a {name}.')) for name in names])
    for one in video[:, 0]:
        feature = unit(frame_features(clip, one.transpose(0, 1)).mean(0))
        rows.append(own['cls_head.logit_scale'].exp() * classes @ feature)
    return torch.stack(rows)


def plain_xclip(clip, own, video):
    rows = []
    for one in video[:, 0]:
        tokens = [reference.frame_tokens(clip, frame, 0) for frame in one.transpose(0, 1)]
        tokens = reference.run_layers(clip, own, tokens, options(summary=True))
        frames = torch.stack([reference.frame_feature(clip, frame) for frame in tokens])
        patches = torch.stack([
            layer_norm(frame[1:], own, 'backbone.patch_norm') @ own['backbone.patch_proj']
            for frame in tokens]).mean(0)
        feature = unit(temporal(own, frames, num_layers=1, residual=True))
        classes = torch.stack([text(clip, name) for name in NAMES])
        classes = unit(classes + video_prompts(own, classes, patches))
        rows.append(own['cls_head.logit_scale'].exp() * classes @ feature)
    return torch.stack(rows)


def video_prompts(own, classes, patches):
    name = 'cls_head.video_prompts'
    patches = layer_norm(patches, own, f'{name}.norm')
    x = classes
    for layer in range(2):
        place = f'{name}.layers.{layer}'
        query = layer_norm(x, own, f'{place}.norm_1') @ own[f'{place}.query.weight'].T
        key = patches @ own[f'{place}.key.weight'].T
        value = patches @ own[f'{place}.value.weight'].T
        heads = []
        for columns in (slice(0, 64), slice(64, 128)):
            scores = query[:, columns] @ key[:, columns].T / 8
            heads.append(scores.softmax(-1) @ value[:, columns])
        x = x + linear(torch.cat(heads, dim=1), own, f'{place}.out')
        hidden = linear(layer_norm(x, own, f'{place}.norm_2'), own, f'{place}.mlp.0')
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        x = x + linear(hidden, own, f'{place}.mlp.2')
    return own[f'{name}.alpha'] * x


def plain_actionclip(clip, own, video):
    rows = []
    for one in video[:, 0]:
        frames = frame_features(clip, one.transpose(0, 1))
        feature = unit(temporal(own, frames, 2, residual=True, eps=1e-2))
        scores = [torch.stack([100 * unit(text(clip, template.format(name))) @ feature
                               for name in NAMES]).softmax(0)
                  for template in ('a {}', 'the {} of it')]
        rows.append(torch.stack(scores).mean(0).log())
    return torch.stack(rows)


def plain_actionclip_loss(clip, own, video, labels, drawn):
    """``drawn``: which of the two templates each clip is matched by."""
    templates = ['a {}', 'the {} of it']
    prompts = torch.stack([unit(text(clip, templates[number].format(NAMES[label])))
                           for number, label in zip(drawn, labels)])
    clips = torch.stack([unit(temporal(own, frame_features(clip, one.transpose(0, 1)), 2,
                                       residual=True, eps=1e-2)) for one in video[:, 0]])
    scores = own['cls_head.logit_scale'].exp() * clips @ prompts.T
    target = torch.tensor([[10. * (one == other) for other in labels]
                           for one in labels]).double().softmax(1)
    halves = [(target * (target.log() - rows.log_softmax(1))).sum() / len(labels)
              for rows in (scores, scores.T)]
    return sum(halves) / 2


LABELS = torch.tensor([2, 0, 2, 1])


def test_actionclip_trains_within_the_batch(build, tensors):
    model = build(ACTIONCLIP)
    clip, own = tensors(model)
    video = random_video(clips=4)
    torch.manual_seed(5)
    given = actionclip_loss(model, video, LABELS)
    torch.manual_seed(5)
    drawn = torch.randint(2, (4, ))
    check(model, own, plain_actionclip_loss(clip, own, video, LABELS, drawn), given)


def actionclip_loss(model, video, labels):
    features, _ = model.extract_feat(video)
    return model.cls_head.loss(features, [
        ActionDataSample().set_gt_label(int(label)) for label in labels])['loss_cls']


def actionclip_on_rank(rank, world, folder, model):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    mine = slice(2 * rank, 2 * rank + 2)
    actionclip_loss(model, random_video(clips=4)[mine], LABELS[mine]).backward()
    for parameter in model.parameters():
        torch.distributed.all_reduce(parameter.grad)
    torch.save({name: parameter.grad / world
                for name, parameter in model.named_parameters()}, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_actionclip_batches_of_ranks_are_one(build, tmp_path):
    model = build(ACTIONCLIP)
    model.cls_head.use_templates('a {}')
    actionclip_loss(model, random_video(clips=4), LABELS).backward()
    expected = {name: parameter.grad.clone()
                for name, parameter in model.named_parameters()}
    model.zero_grad()
    multiprocessing.start_processes(actionclip_on_rank, (2, tmp_path, model), nprocs=2,
                                    start_method='fork')
    for rank in range(2):
        for name, gradient in torch.load(tmp_path / f'{rank}.pt').items():
            error = (gradient - expected[name]).norm()
            assert error <= 1e-9 * expected[name].norm() + 1e-12, name


def plain_a5(clip, own, video, factor=1 / 0.07, prefix=2, postfix=3, layers=2):
    table = own['cls_head.context.vectors']
    classes = []
    for name in NAMES:
        words = reference.embed(clip, reference.TOKENIZER.encode(name))
        behind = 1 + prefix + len(words)
        tokens, end = reference.padded(
            clip, [table[1:1 + prefix], words, table[behind:behind + postfix]])
        classes.append(unit(reference.encode_text(clip, tokens, end, options())))
    rows = []
    for one in video[:, 0]:
        frames = frame_features(clip, one.transpose(0, 1))
        feature = unit(temporal(own, frames, layers, residual=False))
        rows.append(factor * torch.stack(classes) @ feature)
    return torch.stack(rows)


def plain_evl(clip, own, video):
    rows = []
    for one in video[:, 0]:
        tokens = [reference.frame_tokens(clip, frame, 0) for frame in one.transpose(0, 1)]
        query = own['backbone.query']
        for layer in range(3):
            name = f'visual.transformer.resblocks.{layer}'
            normed = [layer_norm(frame, clip, f'{name}.ln_1') for frame in tokens]
            none = tokens[0].new_zeros(0, 32)
            tokens = [reference.vision_layer(clip, name, frame, none, options())
                      for frame in tokens]
            if layer > 0:
                moved = motion(own, f'backbone.motion.{layer - 1}', clip, name, tokens,
                               normed)
                query = decode(own, f'backbone.decoder.{layer - 1}', query,
                               torch.cat(moved))
        head = 'cls_head.classifier'
        rows.append(linear(layer_norm(query, own, f'{head}.0'), own, f'{head}.2'))
    return torch.stack(rows)


def motion(own, name, clip, layer, tokens, normed):
    """The frames' tokens with their motion; a frame has 2 x 2 patches."""
    size = tokens[0].shape[1]
    weight, bias = own[f'{name}.conv.weight'], own[f'{name}.conv.bias']
    result = []
    for t, frame in enumerate(tokens):
        moved = frame + bias + own[f'{name}.positions'][t]
        for offset in (-1, 0, 1):
            if 0 <= t + offset < len(tokens):
                moved = moved + weight[:, 0, offset + 1] * tokens[t + offset]
        for offset, vectors in ((-1, own[f'{name}.from_before']),
                                (1, own[f'{name}.from_behind'])):
            if not 0 <= t + offset < len(tokens):
                continue
            rows = [torch.zeros(size).double()]
            for patch in range(4):
                weights = mean_attention(clip, layer, normed[t], normed[t + offset],
                                         1 + patch)
                row = sum(weights[other] * vectors[place(patch, other)]
                          for other in range(4))
                rows.append(row)
            moved = moved + torch.stack(rows)
        result.append(moved)
    return result


def place(patch, other):
    """Displacements in rows and columns, each from -1 to 1, counted row by row."""
    return ((patch // 2 - other // 2 + 1) * 3) + patch % 2 - other % 2 + 1


def mean_attention(clip, layer, own, seen, token):
    """What a token pays to the patches of another frame, the mean over 4 heads."""
    weight, bias = (clip[f'{layer}.attn.in_proj_{kind}'] for kind in ('weight', 'bias'))
    query = own[token] @ weight[:32].T + bias[:32]
    keys = seen[1:] @ weight[32:64].T + bias[32:64]
    return torch.stack([
        (keys[:, head * 8:head * 8 + 8] @ query[head * 8:head * 8 + 8]
         / math.sqrt(8)).softmax(0) for head in range(4)]).mean(0)


def decode(own, name, query, tokens):
    """One query over all tokens of a clip, by the attention of torch."""
    seen = layer_norm(tokens, own, f'{name}.norm_tokens')
    asking = layer_norm(query, own, f'{name}.norm_query')[None]
    mixed, _ = F.multi_head_attention_forward(
        asking[:, None], seen[:, None], seen[:, None], 32, 4,
        own[f'{name}.attention.in_proj_weight'], own[f'{name}.attention.in_proj_bias'],
        None, None, False, 0., own[f'{name}.attention.out_proj.weight'],
        own[f'{name}.attention.out_proj.bias'])
    query = query + mixed[0, 0]
    hidden = linear(layer_norm(query, own, f'{name}.norm_mlp'), own, f'{name}.mlp.0')
    return query + linear(hidden * torch.sigmoid(1.702 * hidden), own, f'{name}.mlp.3')


PLAIN = dict(vifi_clip=plain_vifi_clip, xclip=plain_xclip, actionclip=plain_actionclip,
             efficient_prompt=plain_a5, evl=plain_evl)


@pytest.mark.parametrize('system, plain', [
    (VIFI, plain_vifi_clip), (XCLIP, plain_xclip), (ACTIONCLIP, plain_actionclip),
    (EVL, plain_evl)])
def test_the_scores_are_those_written_out(build, tensors, system, plain):
    model = build(system)
    clip, own = tensors(model)
    video = random_video()
    check(model, own, plain(clip, own, video), model_logits(model, video))


@pytest.mark.parametrize('prefix, postfix, layers, given', [
    (2, 3, 2, {}), (1, 4, 1, dict(prefix=1, postfix=4)), (0, 3, 1, dict(prefix=0)),
    (2, 0, 1, dict(postfix=0)), (0, 0, 2, dict(prefix=0, postfix=0))])
def test_a5_and_a6(build, tensors, prefix, postfix, layers, given):
    model = build(dict(
        backbone=dict(A5['backbone'], temporal=dict(
            A5['backbone']['temporal'], num_layers=layers)),
        cls_head=dict(A5['cls_head'], **given)))
    clip, own = tensors(model)
    video = random_video()
    # The factor is kept in single precision.
    factor = model.cls_head.logit_scale.exp()
    assert factor.item() == pytest.approx(1 / 0.07)
    check(model, own, plain_a5(clip, own, video, factor, prefix, postfix, layers),
          model_logits(model, video))


@pytest.mark.parametrize('system, frames, message', [
    (XCLIP, 8, 'a clip of 8 frames was given to an X-CLIP of 4 frames'),
    (EVL, 8, 'a clip of 8 frames was given to an EVL of 4 frames'),
    (A5, 8, 'a temporal transformer of at most 6 frames')])
def test_clips_of_more_frames_are_refused(build, system, frames, message):
    with pytest.raises(UserError, match=message):
        model_logits(build(system), random_video(frames))


@pytest.mark.parametrize('system', [XCLIP, ACTIONCLIP, A5, EVL, VIFI])
def test_a_checkpoint_holds_what_is_trained(build, system):
    model, other = build(system), build(system)
    scatter(other, seed=9)
    video = random_video()
    assert not torch.allclose(model_logits(model, video), model_logits(other, video))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model_logits(model, video), model_logits(other, video))


def test_vifi_clip_keeps_the_token_embedding(build):
    """As its authors' code does; ActionCLIP's trains it."""
    table = 'cls_head.tower.module.token_embedding.weight'
    model = build(VIFI)
    clip = model.cls_head.clip.token_embedding
    assert not clip.weight.requires_grad
    assert table not in dict(model.named_parameters())
    assert table in dict(build(ACTIONCLIP).named_parameters())
    ids = torch.tensor([1, 5])
    assert torch.equal(model.cls_head.tower.module.token_embedding(ids), clip(ids))


def test_a_checkpoint_of_before_keeps_the_token_embedding_that_it_trained(build):
    before = dict(VIFI, cls_head=dict(VIFI['cls_head'], train_embedding=True))
    old, model, again = build(before), build(VIFI), build(VIFI)
    scatter(old, seed=9)
    model.load_state_dict(old.state_dict())
    video = random_video()
    with torch.no_grad():
        assert torch.equal(model_logits(model, video), model_logits(old, video))
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model_logits(again, video), model_logits(old, video))
    untouched = build(VIFI)
    state = untouched.state_dict()
    table = 'cls_head.tower.module.token_embedding.weight'
    state[table] = untouched.cls_head.clip.token_embedding.weight.clone()
    untouched.load_state_dict(state)
    assert table not in untouched.state_dict()
