"""Attention rollout: the same features as the model's, and the mathematics, plainly."""
import itertools

import mlflow
import pytest
import torch
from conftest import random_video
from vita_mm.analysis.rollout import rollout, trace
from vita_mm.errors import UserError
from vita_mm.models import CLIPVisionTransformer
from world import run, write_world


def layers_of(model, frames=4):
    return trace(model.backbone, random_video(frames)[:, 0])


@pytest.mark.parametrize('summary, local, num_global', itertools.product(
    [False, True], [False, True], [0, 2]))
def test_features_are_those_of_the_fast_path(build_model, summary, local, num_global):
    model = build_model(dict(summary=summary, local=local, num_global=num_global))
    features, layers = layers_of(model)
    assert torch.allclose(features, model.backbone(random_video()[:, 0]), rtol=0,
                          atol=1e-12)
    for layer in layers:
        assert set(layer.prompts) == {
            kind for kind, there in (('summary', summary), ('local', local),
                                     ('global', num_global)) if there}
        total = layer.tokens.sum(-1) + sum(part.sum(-1) for part in layer.prompts.values())
        assert torch.allclose(total, torch.ones_like(total))
        shares = sum(layer.cls_shares().values())
        assert torch.allclose(shares, torch.ones_like(shares))
        folded = layer.folded().sum((-2, -1))
        assert torch.allclose(folded, torch.ones_like(folded))
    total = rollout(layers).sum((1, 2))
    assert torch.allclose(total, torch.ones_like(total))


def test_without_prompts_it_is_the_textbooks(build_model):
    model = build_model()
    frozen = CLIPVisionTransformer(model.cls_head.clip).double()
    _, layers = trace(frozen, random_video()[:, 0])
    given = rollout(layers)
    for clip, frame in itertools.product(range(2), range(4)):
        product = torch.eye(5).double()
        for layer in layers:
            product = (torch.eye(5) + layer.tokens[clip, frame]) / 2 @ product
        expected = product[0, 1:]
        found = given[clip, frame] / given[clip, frame].sum()
        assert torch.allclose(found, expected / expected.sum())


def test_prompts_lead_back_to_what_they_are_made_of(build_model):
    """All tokens of a clip in one matrix, entry by entry."""
    _, layers = layers_of(build_model())
    given = rollout(layers)[1]
    place = {token: number for number, token in enumerate(
        itertools.product(range(4), range(5)))}
    product = torch.eye(20).double()
    for layer in layers:
        matrix = torch.zeros(20, 20).double()
        for (frame, token), row in place.items():
            for other in range(5):
                matrix[row, place[frame, other]] += layer.tokens[1, frame, token, other]
            for source in range(4):
                column = place[source, 0]
                matrix[row, column] += layer.prompts['local'][1, frame, token, source]
                weight = (layer.summary[1, frame, source] + (frame == source)) / 2
                matrix[row, column] += layer.prompts['summary'][
                    1, frame, token, 0] * weight
            assert matrix[row].sum() < 1  # global prompts have no source
            matrix[row] /= matrix[row].sum()
        product = (torch.eye(20) + matrix) / 2 @ product
    expected = sum(product[place[frame, 0]] for frame in range(4)).view(4, 5)[:, 1:]
    assert torch.allclose(given, expected / expected.sum())


def test_what_it_cannot_say_is_refused(build_model):
    with pytest.raises(UserError, match='clips of the 4 frames'):
        layers_of(build_model(), frames=8)
    model = build_model()
    temporal = CLIPVisionTransformer(model.cls_head.clip, temporal=dict(
        num_positions=4, num_layers=1)).double()
    with pytest.raises(UserError, match='are joined by attention of another kind'):
        trace(temporal, random_video()[:, 0])


def test_the_tool_draws_and_tracks(tmp_path):
    config = write_world(tmp_path, num_train=8, num_val=2)
    done = run('tools/train.py', config, '--work-dir', tmp_path / 'work',
               '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = run('tools/rollout.py', 'val/0.mp4', 'absent.mp4', 'train/0.mp4',
               '--checkpoint', 'work/epoch_1.pth', '--against', 'frozen', '--out', 'out',
               cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert 'absent.mp4' in done.stdout and 'Traceback' not in done.stdout
    for name in ('0_1', '0_2'):
        assert {file.name for file in (tmp_path / 'out' / name).iterdir()} == {
            'frames.png', 'frames.gif', 'shares.png', 'shares.csv'}
    first, *rows = (tmp_path / 'out/0_1/shares.csv').read_text().split()
    assert first == 'layer,patches,CLS,summary,global,local' and len(rows) == 3
    assert sum(map(float, rows[0].split(',')[1:])) == pytest.approx(1, abs=1e-5)
    client = mlflow.MlflowClient(f'sqlite:///{tmp_path}/mlflow.db')
    experiment = client.get_experiment_by_name('vita_mm')
    tracked, = client.search_runs([experiment.experiment_id],
                                  "attributes.run_name = 'rollout epoch_1.pth'")
    assert tracked.info.status == 'FINISHED'
    assert {file.path for file in client.list_artifacts(tracked.info.run_id, '0_2')} == {
        f'0_2/{name}' for name in ('frames.png', 'frames.gif', 'shares.png', 'shares.csv')}
