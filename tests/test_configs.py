"""The configs that come with the project build and step."""
import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

from world import ROOT, write_video


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """Videos of Kinetics' size, annotated where the config expects them."""
    root = tmp_path / 'data' / 'kinetics400'
    for name in ('train', 'val'):
        write_video(root / name / 'clip.mp4', num_frames=140, size=256, fps=30)
        (root / f'{name}.txt').write_text(f'{name}/clip.mp4 7\n')
    monkeypatch.chdir(tmp_path)


def test_vita_k400_steps_and_predicts_with_the_full_vit_b_16(kinetics):
    config = Config.fromfile(ROOT / 'configs' / 'vita_k400.py')
    config.model.clip.pretrained = None  # the real weights are a download
    model = MODELS.build(config.model)
    # As measured on the released code with its summary projection trained (Mc = 8).
    assert sum(parameter.numel() for parameter in model.parameters()) == 37_245_953

    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    train = DATASETS.build(config.train_dataloader.dataset)
    batch = pseudo_collate([train[0]])
    assert batch['inputs'][0].shape == (1, 3, 8, 224, 224)
    before = model.cls_head.context.vectors.detach().clone()
    log = model.train_step(batch, optim_wrapper)
    assert torch.isfinite(log['loss'])
    assert not torch.equal(before, model.cls_head.context.vectors)

    val = DATASETS.build(config.val_dataloader.dataset)
    sample, = model.eval().val_step(pseudo_collate([val[0]]))
    assert sample.gt_label.item() == 7
    assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)
