"""What is computed once, shared, packed or left out changes no result.

The whole model against the plain reference is in test_model.py and test_text_prompts.py;
here is what only acts in training steps, on several ranks, in evaluation or in float32.
"""
import itertools
from types import SimpleNamespace

import pytest
import reference
import torch
import torch.distributed
from conftest import BACKBONE, CLASSES, random_video, reference_options, tiny_clip_config
from mmaction.structures import ActionDataSample
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import multiprocessing
from torch.nn import functional as F
from vita_mm.engine.hooks import TextOncePerStepHook
from vita_mm.models.common import layers, shared_text
from vita_mm.models.common.packed_text import PackedPrompts
from vita_mm.models.common.vision import prompted_layer

ARCH = tiny_clip_config(quick_gelu=True)
CLIPS = 12


# Training steps: gradients of all clips, however they are distributed


def data():
    """Normalised float64 clips, (12, 1, 3, T, H, W), and their labels."""
    return random_video(clips=CLIPS), torch.arange(CLIPS) % len(CLASSES)


def train_step(model, accumulation, rank=0, world=1, share=True):
    """The gradients of one optimizer step of a rank, and how many classes it encoded.

    They are the weights' change by SGD at a learning rate of 1.
    """
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    encoded = []
    tower = model.cls_head.tower.module
    tower.register_forward_hook(lambda _, args, out: encoded.append(len(out)))
    wrapped = model if world == 1 else MMDistributedDataParallel(
        model, device_ids=None, broadcast_buffers=False)
    optimizer = OptimWrapper(
        torch.optim.SGD(filter(lambda weight: weight.requires_grad, model.parameters()),
                        lr=1.), accumulative_counts=accumulation)
    optimizer.initialize_count_status(wrapped, 0, accumulation)
    runner = SimpleNamespace(model=wrapped, optim_wrapper=optimizer)
    hook = TextOncePerStepHook()
    if share:
        hook.before_train(runner)
    video, labels = data()
    for batch, clips in enumerate(torch.arange(CLIPS)[rank::world].chunk(accumulation)):
        if share:
            hook.before_train_iter(runner, batch)
        wrapped.train_step(dict(
            inputs=list(video[clips]), data_samples=[
                ActionDataSample().set_gt_label(label) for label in labels[clips]]),
            optimizer)
    hook.after_train(runner)
    return {name: before[name] - weight.detach()
            for name, weight in model.named_parameters()}, encoded


def on_rank(rank, world, folder, model, accumulation):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=world)
    torch.save(train_step(model, accumulation, rank, world), f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


def reference_gradients(clip_file, model, head):
    clip = {key: value.double() for key, value in
            torch.load(clip_file, weights_only=True).items()}
    trained = {key: value.detach().clone().requires_grad_()
               for key, value in model.named_parameters()}
    video, labels = data()
    logits = reference.logits(clip, trained, video[:, 0],
                              reference_options(ARCH, head=head))
    F.cross_entropy(logits, labels).backward()
    return {key: value.grad for key, value in trained.items()}


def assert_equal(given, expected):
    assert given.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (given[name] - gradient).norm()
        assert error <= 1e-9 * gradient.norm() + 1e-12, name


@pytest.mark.parametrize('context, accumulation, world', itertools.product(
    ['csc', 'uc'], [1, 3], [1, 2]))
def test_gradients_of_a_step(build_model, tiny_weights, tmp_path, context, accumulation,
                             world):
    head = dict(context=context)
    model = build_model(head=head, arch=ARCH, data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[0.], std=[1.], format_shape='NCTHW'))
    expected = reference_gradients(tiny_weights(ARCH), model, head)
    if world == 1:
        results = [train_step(model, accumulation)]
    else:
        multiprocessing.start_processes(on_rank, (world, tmp_path, model, accumulation),
                                        nprocs=world, start_method='fork')
        results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(world)]
    for given, encoded in results:
        assert_equal(given, expected)
        assert encoded == [-(-len(CLASSES) // world)]  # once, and a share of them


def test_without_the_hook_gradients_are_the_same(build_model, tiny_weights):
    model = build_model(arch=ARCH, data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[0.], std=[1.], format_shape='NCTHW'))
    expected = reference_gradients(tiny_weights(ARCH), model, {})
    given, encoded = train_step(model, 3, share=False)
    assert_equal(given, expected)
    assert encoded == [3, 3, 3]


@pytest.mark.parametrize('hands', [1, 2, 5])
def test_classes_are_dealt_evenly(hands):
    lengths = [7, 3, 3, 9]
    dealt = shared_text.deal(lengths, hands)
    assert {number for hand in dealt for number in hand} == set(range(4))
    assert {len(hand) for hand in dealt} == {-(-4 // hands)}


# Packing


def test_prompts_are_packed_without_padding_or_repetition():
    sequences = [[1, None, None, 5, 9], [1, None, None, 6, 7, 8, 9],
                 [1, None, None, 7, 9]]
    assert len(PackedPrompts(sequences).ids_S) == 3 + 2 + 2 + 4
    assert len(PackedPrompts(sequences, class_specific=True).ids_S) == 1 + 4 + 4 + 6


# Evaluation: kept until a weight changes


@pytest.fixture
def counted(build_model):
    """A model, and a list that grows whenever its text tower is run."""
    model = build_model(arch=ARCH)
    runs = []
    model.cls_head.tower.module.register_forward_hook(lambda *_: runs.append(1))
    return model, runs


def set_data(model):
    model.cls_head.context.vectors.data += 1


def optimize(model):
    model.cls_head.text_features().sum().backward()
    torch.optim.AdamW(model.cls_head.context.parameters()).step()


def load(model):
    model.load_state_dict({name: value + 1 if name.endswith('context.vectors') else value
                           for name, value in model.state_dict().items()})


def change_tower(model):
    model.cls_head.tower.module.ln_final.weight.add_(1)


@pytest.mark.parametrize('change', [set_data, optimize, load, change_tower,
                                    lambda model: model.float()])
def test_text_is_kept_until_a_weight_changes(counted, change):
    model, runs = counted
    with torch.no_grad():
        features = model.cls_head.text_features()
        assert model.cls_head.text_features() is features
    assert len(runs) == 1
    change(model)
    runs.clear()
    with torch.no_grad():
        changed = model.cls_head.text_features()
        assert torch.equal(changed, model.cls_head.encode())
    assert len(runs) == 2
    assert not torch.equal(changed.double(), features)


def test_manual_prompts_are_encoded_once_even_in_training(build_model):
    model = build_model(head=dict(context='none'), arch=ARCH)
    features = model.cls_head.text_features()
    assert model.cls_head.text_features() is features
    model.cls_head.use_templates(['a {}', 'the {}'])
    assert not torch.equal(model.cls_head.text_features(), features)


# Layers


def test_quick_gelu():
    x = torch.linspace(-6, 6, 50, dtype=torch.float64, requires_grad=True)
    expected = x * torch.sigmoid(1.702 * x)
    given = layers.QuickGELU.apply(x)
    assert torch.allclose(given, expected, rtol=0, atol=1e-15)
    assert torch.autograd.gradcheck(layers.QuickGELU.apply, x)


@pytest.mark.parametrize('bias', [False, True])
def test_linear_by_onednn(bias):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 300, 64, generator=generator).requires_grad_()
    weight = torch.randn(96, 64, generator=generator)[16:]  # rows of a larger one
    bias = torch.randn(80, generator=generator) if bias else None
    given, expected = layers.linear(x, weight, bias), F.linear(x, weight, bias)
    assert 'OneDNN' in type(given.grad_fn).__name__
    assert torch.allclose(given, expected, rtol=0, atol=1e-4)
    gradient = torch.randn(given.shape, generator=generator)
    assert torch.allclose(*(torch.autograd.grad(out, x, gradient)[0]
                            for out in (given, expected)), rtol=0, atol=1e-4)


@pytest.mark.parametrize('options', [
    dict(checkpointing=True),
    pytest.param(dict(compile=True), marks=pytest.mark.slow),
    pytest.param(dict(compile=True, checkpointing=True), marks=pytest.mark.slow),
], ids=str)
def test_options_of_the_backbone(check_reference, options):
    check_reference(options, arch=ARCH)


def test_a_compiled_linear_layer_is_of_one_graph_and_not_by_onednn():
    graphs = []

    def look(graph, inputs):
        graphs.append(graph)
        return graph

    x, weight = torch.randn(200, 100), torch.randn(100, 100)
    assert x.numel() * len(weight) >= layers.WORTH_ONEDNN
    torch.compile(layers.linear, backend=look, fullgraph=True)(x, weight)
    assert 'torch._C._nn.linear' in graphs[0].code and 'mkldnn' not in graphs[0].code


@pytest.mark.slow
def test_compiled_layers_in_float32():
    """Frozen ones too, which oneDNN multiplies where they are not compiled."""
    torch.manual_seed(0)
    block = ResidualAttentionBlock(64, 2, act_layer=QuickGELU).requires_grad_(False)
    x = torch.randn(2, 4, 17, 64)
    assert x.numel() * 64 * 3 >= layers.WORTH_ONEDNN
    prompt = torch.randn(2, 4, 3, 64)
    results = []
    for run in (prompted_layer, torch.compile(prompted_layer)):
        taken = x.clone().requires_grad_()
        out = run(block, taken, [prompt])
        results.append((out, *torch.autograd.grad(out.square().sum(), taken)))
    for plain, compiled in zip(*results):
        assert torch.allclose(compiled, plain, rtol=0,
                              atol=1e-5 * plain.abs().max().item())


def test_checkpointing_keeps_less(build_model):
    kept = {}
    for checkpointing in (False, True):
        backbone = build_model(dict(BACKBONE, checkpointing=checkpointing)).backbone
        sizes = {}

        def keep(tensor, sizes=sizes):
            sizes.setdefault(tensor.data_ptr(), tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            features = backbone(random_video()[:, 0])
        kept[checkpointing] = sum(sizes.values())
        assert features.requires_grad
    assert kept[True] < kept[False] / 2
