"""EVL B/16 on Kinetics-400, 8 frames, evaluated on 3x1 views, by its authors' recipe.

Table 1: 82.9 top-1.

    tools/dist_train.sh configs/evl/k400.py 8

Training: about 10 A100 hours in bfloat16. Evaluation: about 3 minutes of one. See
docs/precision.md for how these were estimated.

Vita-CLIP's recipe is this one but for rate and length: 50000 steps.
"""
_base_ = ['../_base_/runtime.py', '../_base_/clip.py', '../_base_/kinetics400.py',
          '../_base_/schedule.py']

from vita_mm.engine.pipelines import with_steps

precision = 'bfloat16'
model = dict(
    backbone=dict(type='EVLVisionTransformer', num_frames=8),
    cls_head=dict(type='EVLHead', classes='kinetics400', average_clips='prob'))
train_pipeline = with_steps(
    _base_.train_pipeline, SampleFrames=dict(
        type='TightSampleFrames', clip_len=8, frame_interval=16,
        out_of_bound_opt='repeat_last'),
    RandAugmentCrop=dict(boxes='torchvision'),
    Resize=dict(type='FloatResize', scale=(224, 224), keep_ratio=False))
val_pipeline = with_steps(
    _base_.val_pipeline, SampleFrames=dict(
        type='TightSampleFrames', clip_len=8, frame_interval=16, test_mode=True,
        out_of_bound_opt='last_frame'),
    Resize=dict(type='FloatResize', scale=(-1, 224)))
test_pipeline = with_steps(val_pipeline, TightSampleFrames=dict(num_clips=3))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=8, dataset=dict(pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(lr=4e-4))
# Of 240,000 videos 54 epochs are a few more steps, in which the rate is 0.
train_cfg = dict(max_epochs=54)
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=50000, by_epoch=False)]
