"""Vita-CLIP B/16 on Kinetics-400, 16 frames, evaluated on 4x3 views.

Table 1: 82.9 top-1, 96.3 top-5. The paper does not say the stride: it stays 16, so that a
clip spans 241 frames. Validation during training is on 1x1 view.

    tools/dist_train.sh configs/vita_k400_16f.py 8
    tools/dist_test.sh configs/vita_k400_16f.py work_dirs/vita_k400_16f 8

Training: about 18 A100 hours in bfloat16. Evaluation: about 20 minutes of one (see
docs/precision.md for how these were estimated).
"""
_base_ = 'vita_k400_4x3.py'

model = dict(backbone=dict(num_frames=16))
train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
for pipeline in (train_pipeline, val_pipeline, test_pipeline):
    pipeline[1].update(clip_len=16)  # SampleFrames
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=2, dataset=dict(pipeline=test_pipeline))
