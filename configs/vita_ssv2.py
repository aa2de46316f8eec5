"""Vita-CLIP B/16 on Something-Something-V2, 8 frames, 1x1 view.

Table 2: 48.7 top-1. The authors released nothing for it: one frame from each of 8 equal
parts of the video (at random in training, the middle in evaluation), and otherwise the
recipe of Kinetics-400, which has no flip. Classes are the 174 templates without brackets.

    tools/dist_train.sh configs/vita_ssv2.py 8
    tools/dist_test.sh configs/vita_ssv2.py work_dirs/vita_ssv2 8

Training: about 6 A100 hours in bfloat16. Evaluation: about 1 minute of one (see
docs/precision.md for how these were estimated).
"""
_base_ = 'vita_k400.py'

from vita_mm.engine.pipelines import with_steps

classes = 'ssv2'
root = 'data/ssv2'

model = dict(cls_head=dict(classes=classes))
train_pipeline = with_steps(
    _base_.train_pipeline, SampleFrames=dict(type='UniformSample', clip_len=8))
val_pipeline = with_steps(
    _base_.val_pipeline,
    SampleFrames=dict(type='UniformSample', clip_len=8, test_mode=True))
test_pipeline = val_pipeline
data = dict(classes=classes, data_prefix=dict(video=f'{root}/videos'))
train_dataloader = dict(
    dataset=dict(ann_file=f'{root}/train.txt', pipeline=train_pipeline, **data))
val_dataloader = dict(
    dataset=dict(ann_file=f'{root}/val.txt', pipeline=val_pipeline, **data))
test_dataloader = val_dataloader
