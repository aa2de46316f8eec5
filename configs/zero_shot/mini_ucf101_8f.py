"""As mini_ucf101.py, on 8 frames: for models that take no more."""
_base_ = 'mini_ucf101.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(clip_len=8)  # UniformSample
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
