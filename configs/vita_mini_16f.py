"""Vita-CLIP with 16 frames on the supervised set of the miniature, 4x3 views.

The stride is half that of vita_mini.py: the videos are no longer. Validation during
training is on 1x1 view.

    tools/dist_train.sh configs/vita_mini_16f.py 2
"""
_base_ = 'vita_mini_4x3.py'

model = dict(backbone=dict(num_frames=16))
train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
for pipeline in (train_pipeline, val_pipeline, test_pipeline):
    pipeline[1].update(clip_len=16, frame_interval=2)  # SampleFrames
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
