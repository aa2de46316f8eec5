"""X-CLIP B/16 on Kinetics-400, 16 frames, evaluated on 4x3 views.

Table 1: 84.7 top-1, 96.8 top-5.

    tools/dist_train.sh configs/xclip/k400_16f.py 8

Training: about 28 A100 hours in bfloat16. Evaluation: about 20 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = 'k400_4x3.py'

model = dict(backbone=dict(num_frames=16))
train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
for pipeline in (train_pipeline, val_pipeline, test_pipeline):
    pipeline[1].update(clip_len=16)  # UniformSample
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=2, dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(accumulative_counts=8)
