"""A zero-shot set of the miniature benchmark: as in the paper's, in its small frames."""
_base_ = 'zero_shot.py'

test_pipeline = _base_.test_pipeline
test_pipeline[3].update(scale=(-1, 48))
test_pipeline[4].update(crop_size=48)
test_dataloader = dict(
    batch_size=24, num_workers=1,
    dataset=dict(pipeline=test_pipeline, data_prefix=dict(video='data/mini')))
test_cfg = dict(prompts=dict(templates=[
    'a {}', 'a photo of a {}', 'a drawing of a {}']))
