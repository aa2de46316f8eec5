"""Attention rollout: the same features as the model's, and the mathematics, plainly."""
import itertools
import json
import shutil
from dataclasses import replace

import mlflow
import pytest
import torch
from conftest import random_video, scatter, tiny_clip_config
from mmaction.registry import MODELS
from mmengine.config import Config
from vita_mm.analysis.rollout import rollout, trace
from vita_mm.cli.main import run
from vita_mm.errors import UserError
from vita_mm.harness.report.content import compose
from vita_mm.harness.report.figures import draw
from vita_mm.harness.report.provenance import Provenance
from vita_mm.harness.report.report import write_report
from vita_mm.harness.report.results import Cell, RowResult, TableResult
from vita_mm.harness.run.folder import RunFolder
from vita_mm.harness.run.result import Weights
from vita_mm.harness.spec.suite import Column, Row, Suite, Table
from vita_mm.io.checkpoints import write_atomically
from vita_mm.models import CLIPVisionTransformer
from vita_mm.models.common.attention import temporal_shares
from vita_mm.description import describe
from vita_mm.models.common.description import KEY, evaluation_pipeline
from vita_mm.systems import SYSTEMS
from world import write_world

# Two heads of the joint space.
ARCH = tiny_clip_config(embed_dim=128, quick_gelu=True)
TEMPORAL = dict(num_positions=6, num_layers=2)
BACKBONES = dict(
    frozen_clip=dict(type='CLIPVisionTransformer'),
    vita_clip=dict(type='VitaCLIPVisionTransformer', num_frames=4, num_global=2),
    xclip=dict(type='XCLIPVisionTransformer', num_frames=4),
    actionclip=dict(type='CLIPVisionTransformer', trained=True, temporal=TEMPORAL),
    efficient_prompt=dict(type='CLIPVisionTransformer',
                          temporal=dict(TEMPORAL, residual=False, linear_std=None)),
    evl=dict(type='EVLVisionTransformer', num_frames=4, num_layers=2),
    vifi_clip=dict(type='CLIPVisionTransformer', trained=True))


@pytest.fixture
def build_backbone(tiny_weights):
    """Function: a system's vision side on a tiny CLIP, all its tensors random."""

    def build(system, **options):
        backbone = MODELS.build(dict(
            BACKBONES[system], **options,
            clip=dict(arch=ARCH, pretrained=tiny_weights(ARCH))))
        scatter(backbone, seed=1)
        return backbone.double().eval()

    return build


def traced(model, frames=4):
    return trace(model.backbone, random_video(frames)[:, 0])


@pytest.mark.parametrize('name', SYSTEMS)
def test_features_are_those_of_the_fast_path_of(name, build_backbone):
    backbone, video = build_backbone(name), random_video()[:, 0]
    found = trace(backbone, video, SYSTEMS[name])
    with torch.no_grad():
        assert torch.allclose(found.features, backbone(video), rtol=0, atol=1e-12)
    assert len(found.layers) == len(found.read) == 3
    read = sum(part.sum((1, 2)) for part in found.read if part is not None)
    left = 0.25 if name == 'evl' else 0  # at the learned query
    assert torch.allclose(read, torch.full_like(read, 1 - left))
    maps = rollout(found)
    assert maps.shape == (2, 4, 4) and (maps > 0).all()
    assert torch.allclose(maps.sum((1, 2)), torch.ones(2).double())


@pytest.mark.parametrize('summary, local, num_global', itertools.product(
    [False, True], [False, True], [0, 2]))
def test_features_are_those_of_the_fast_path(build_model, summary, local, num_global):
    model = build_model(dict(summary=summary, local=local, num_global=num_global))
    found = traced(model)
    assert torch.allclose(found.features, model.backbone(random_video()[:, 0]), rtol=0,
                          atol=1e-12)
    for layer in found.layers:
        assert set(layer.prompts) == {
            kind for kind, there in (('summary', summary), ('local', local),
                                     ('global', num_global)) if there}
        total = sum(part.sum(-1) for part in (layer.tokens, *layer.prompts.values()))
        assert torch.allclose(total, torch.ones_like(total))
        shares = sum(layer.cls_shares().values())
        assert torch.allclose(shares, torch.ones_like(shares))
        folded = layer.folded().sum((-2, -1))
        assert torch.allclose(folded, torch.ones_like(folded))
    total = rollout(found).sum((1, 2))
    assert torch.allclose(total, torch.ones_like(total))


def test_without_prompts_it_is_the_textbooks(build_model):
    model = build_model()
    frozen = CLIPVisionTransformer(model.cls_head.clip).double()
    found = trace(frozen, random_video()[:, 0])
    given = rollout(found)
    for clip, frame in itertools.product(range(2), range(4)):
        product = torch.eye(5).double()
        for layer in found.layers:
            product = (torch.eye(5) + layer.tokens[clip, frame]) / 2 @ product
        expected = product[0, 1:]
        shown = given[clip, frame] / given[clip, frame].sum()
        assert torch.allclose(shown, expected / expected.sum())


def test_prompts_lead_back_to_what_they_are_made_of(build_model):
    """All tokens of a clip in one matrix, entry by entry."""
    model = build_model()
    found = traced(model)
    given = rollout(found)[1]
    attended = []
    for maker in model.backbone.prompts:
        maker.summary.attention.register_forward_hook(
            lambda module, given, _: attended.append(by_hand(module, *given)))
    traced(model)
    place = {token: number for number, token in enumerate(
        itertools.product(range(4), range(5)))}
    product = torch.eye(20).double()
    for layer, summary in zip(found.layers, attended[-6::2]):
        matrix = torch.zeros(20, 20).double()
        for (frame, token), row in place.items():
            for other in range(5):
                matrix[row, place[frame, other]] += layer.tokens[1, frame, token, other]
            for source in range(4):
                column = place[source, 0]
                matrix[row, column] += layer.prompts['local'][1, frame, token, source]
                weight = (summary[1, frame, source] + (frame == source)) / 2
                matrix[row, column] += layer.prompts['summary'][
                    1, frame, token, 0] * weight
            assert matrix[row].sum() < 1  # global prompts have no source
            matrix[row] /= matrix[row].sum()
        product = (torch.eye(20) + matrix) / 2 @ product
    expected = sum(product[place[frame, 0]] for frame in range(4)).view(4, 5)[:, 1:]
    assert torch.allclose(given, expected / expected.sum())


def by_hand(module, queries, keys, *_):
    """The weights of torch's attention, the mean over its heads."""
    width, heads = module.embed_dim, module.num_heads
    project = [queries @ weight.T + bias for weight, bias in zip(
        module.in_proj_weight.split(width)[:1], module.in_proj_bias.split(width)[:1])]
    project += [keys @ module.in_proj_weight[width:2 * width].T
                + module.in_proj_bias[width:2 * width]]
    q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in project)
    scores = q @ k.transpose(-1, -2) / (width // heads)**0.5
    return scores.softmax(-1).mean(1).detach()


def listen(modules):
    """The weights of attentions, as they are called from here on."""
    found = []
    for module in modules:
        module.register_forward_hook(
            lambda module, given, _: found.append(by_hand(module, *given)))
    return found


def clip_matrix(layer, clip):
    """(I + A) / 2 over all tokens of a clip's frames."""
    count = layer.tokens.shape[1] * layer.tokens.shape[2]
    return (torch.eye(count) + layer.folded()[clip].reshape(count, count)) / 2


@pytest.mark.parametrize('name', ['xclip', 'actionclip', 'efficient_prompt'])
def test_a_temporal_transformer_leads_back_to_its_frames(name, build_backbone):
    backbone, video = build_backbone(name), random_video()[:, 0]
    temporal = backbone.temporal
    weights = listen(layer.attn for layer in temporal.layers)
    found = trace(backbone, video)
    weights = weights[:len(temporal.layers)]
    for clip in range(2):
        product = torch.eye(4).double()
        for layer in weights:
            product = (torch.eye(4) + layer[clip]) / 2 @ product
        if name != 'efficient_prompt':
            product = (torch.eye(4) + product) / 2
        shares = product.mean(0)
        assert torch.allclose(found.read[-1][clip, :, 0], shares)
        expected = torch.zeros(4, 5).double()
        expected[:, 0] = shares
        expected = expected.flatten()
        for layer in reversed(found.layers):
            expected = expected @ clip_matrix(layer, clip)
        expected = expected.view(4, 5)[:, 1:]
        assert torch.allclose(rollout(found)[clip], expected / expected.sum())


def test_frames_of_equal_weight_have_equal_shares(build_backbone):
    temporal = build_backbone('actionclip').temporal
    for layer in temporal.layers:
        layer.attn.in_proj_weight.data.zero_()
    shares = temporal_shares(temporal, torch.randn(2, 4, 128).double())
    assert torch.allclose(shares, torch.full_like(shares, 1 / 4))


def test_a_query_leads_back_to_the_tokens_of_each_layer_it_reads(build_backbone):
    backbone, video = build_backbone('evl'), random_video()[:, 0]
    weights = listen(layer.attention for layer in backbone.decoder)
    found = trace(backbone, video, SYSTEMS['evl'])
    early, late = weights[:2]
    for clip in range(2):
        first, second, third = (clip_matrix(layer, clip) for layer in found.layers)
        expected = (late[clip, 0] / 2 @ third + early[clip, 0] / 4) @ second @ first
        expected = expected.view(4, 5)[:, 1:]
        assert torch.allclose(rollout(found)[clip], expected / expected.sum())


def test_windows_of_a_long_clip_are_rolled_each_for_itself(build_model):
    model, video = build_model(), random_video(8)[:, 0]
    whole = rollout(trace(model.backbone, video))
    assert whole.shape == (2, 8, 4)
    for window in (slice(0, 4), slice(4, 8)):
        # The time embedding is stretched over the whole clip.
        embedded = model.backbone.embed(video)[:, window]
        model.backbone.embed = lambda _, embedded=embedded: embedded
        part = rollout(trace(model.backbone, video[:, :, window]))
        del model.backbone.embed
        found = whole[:, window] / whole[:, window].sum((1, 2), keepdim=True)
        assert torch.allclose(found, part)


def test_tiled_prompts_of_a_long_clip_are_rolled_together(build_model):
    model = build_model(dict(long_clips='tile'))
    assert torch.allclose(rollout(trace(model.backbone, random_video(8)[:, 0])).sum(),
                          torch.tensor(2.).double())


class Plain(torch.nn.Module):
    """Prompts of a plug-in that does not say what they are made of."""

    def forward(self, cls_BTD):
        return dict(mine=torch.ones(1, 1, 2, cls_BTD.shape[-1]).double())


def test_prompts_of_others_are_made_of_nothing(build_backbone):
    backbone = build_backbone('frozen_clip')
    backbone.prompts = torch.nn.ModuleList(Plain() for _ in range(3))
    found = trace(backbone, random_video()[:, 0])
    assert list(found.layers[0].cls_shares()) == ['patches', 'CLS', 'mine']
    assert torch.allclose(rollout(found).sum((1, 2)), torch.ones(2).double())


def test_what_it_cannot_say_is_refused(build_model, build_backbone):
    with pytest.raises(UserError, match='must be a multiple of that'):
        traced(build_model(), frames=6)
    with pytest.raises(UserError, match='attention of a Conv3d is not that of CLIP'):
        trace(torch.nn.Conv3d(3, 4, 1).double(), random_video()[:, 0])

    class Largest(CLIPVisionTransformer):
        def join(self, frames_BTD):
            return frames_BTD.amax(1)

        def forward(self, video):
            return 2 * super().forward(video)

    backbone = build_backbone('frozen_clip')
    backbone.__class__ = Largest
    with pytest.raises(UserError, match='its frames are joined in another way'):
        trace(backbone, random_video()[:, 0])


def test_the_tool_draws_and_tracks(tmp_path, capfd, monkeypatch):
    config = write_world(tmp_path, num_train=1, num_val=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/mlflow.db')
    checkpoint = save_untrained(config)
    assert run('rollout', ['val/0.mp4', 'absent.mp4', 'train/0.mp4', '--checkpoint',
                           checkpoint, '--against', 'frozen', '--out', 'out']) == 2
    output = capfd.readouterr()
    assert 'absent.mp4' in output.err
    names = ('frames.gif', 'frames.png', 'shares.csv', 'shares.png')
    for name in ('0_1', '0_2'):
        assert sorted(file.name for file in (tmp_path / 'out' / name).iterdir()) == [
            *names]
    first, *rows = (tmp_path / 'out/0_1/shares.csv').read_text().split()
    assert first == 'layer,patches,CLS,summary,global,local' and len(rows) == 3
    assert sum(map(float, rows[0].split(',')[1:])) == pytest.approx(1, abs=1e-5)
    client = mlflow.MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
    experiment = client.get_experiment_by_name('vita_mm')
    tracked, = client.search_runs([experiment.experiment_id],
                                  "attributes.run_name = 'rollout untrained.pth'")
    assert tracked.info.status == 'FINISHED'
    assert {file.path for file in client.list_artifacts(tracked.info.run_id, '0_2')} == {
        f'0_2/{name}' for name in names}


def test_a_row_of_a_suite_is_drawn_in_its_report(tmp_path, monkeypatch):
    config = write_world(tmp_path, num_train=1, num_val=2)
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / 'run')
    folder.path.mkdir()
    shutil.copy(config, folder.path / 'config.py')
    folder.finish(weights=Weights(path=f'../{save_untrained(config)}', sha256=''))
    row = Row('fig3', 'vita', 'Vita-CLIP', train='x.py')
    table = Table('fig3', 'Attention', {'top1': Column('top1', 'Top-1')}, [row],
                  figure=dict(kind='rollout', row='vita', video=1))
    cell = Cell(table.columns['top1'], 'done', {0: 50.}, folders={0: folder.path})
    result = TableResult(table, [RowResult(row, {'top1': cell})])
    suite = Suite('s', 'S', [table])
    figure = draw(result, suite)
    assert figure._suptitle.get_text().startswith('1.mp4: ')
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == [
        'frames', 'Vita-CLIP', 'frozen CLIP']
    (tmp_path / 'val' / '1.mp4').unlink()
    report = compose(suite, [result], Provenance())
    page = write_report(report, tmp_path / 'report').read_text()
    assert 'the figure is not drawn: the video' in page and '1.mp4' in page
    assert not list(tmp_path.glob('report/figures/*'))
    with pytest.raises(ValueError, match="row 'other', which is not there"):
        replace(table, figure=dict(kind='rollout', row='other'))


def save_untrained(config):
    """A checkpoint, as it begins, that describes itself."""
    config = Config.fromfile(config)
    model = MODELS.build(config.model)
    description = describe(config.model, evaluation_pipeline(config))
    write_atomically(dict(meta={KEY: json.dumps(description)},
                          state_dict=model.state_dict()), 'untrained.pth')
    return 'untrained.pth'
