"""Kinetics-400 as X-CLIP's family reads it and trains on it.

A frame of each of 8 equal parts of a video, at random in training, the middle one in
evaluation; crops and grey once for a clip, colour jitter for each frame anew: `--draws
clip` has one draw for all. ``blending`` is for the systems that blend clips, ``pixels``
for those that normalise with the mean of ImageNet, not of CLIP: X-CLIP and ViFi-CLIP.
30 epochs of batches of 256: a warm-up of 5, behind which the rate falls onto a cosine
that began with the training; all parameters end at a hundredth of the rate of CLIP's.
"""
_base_ = 'kinetics400.py'

from vita_mm.engine.pipelines import with_steps

blending = dict(type='RandomBatchAugment', augments=[
    dict(type='MixupBlending', alpha=0.8, num_classes=400),
    dict(type='CutmixBlending', alpha=1.0, num_classes=400)])
colours = [
    dict(type='Flip', flip_ratio=0.5),
    dict(type='FrameTransform', op='ColorJitter', prob=0.8, draws='frame',
         brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
    dict(type='FrameTransform', op='Grayscale', prob=0.2, num_output_channels=3)]
pixels = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=8),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66),
         random_crop=False, num_fixed_crops=5, max_wh_scale_gap=1),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    *colours,
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# Their several clips of a video are drawn as in training; `--clips even` spreads them.
val_pipeline = with_steps(
    _base_.val_pipeline, Resize=dict(scale=(-1, 256)),
    SampleFrames=dict(
        type='SegmentSample', clip_len=8, clips='drawn', test_mode=True))
test_pipeline = val_pipeline
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# 8 GPUs x 8 clips x 4 micro-batches.
auto_scale_lr = dict(enable=False, base_batch_size=256)
optim_wrapper = dict(
    type='OptimWrapper', accumulative_counts=4,
    optimizer=dict(type='AdamW', lr=8e-6, betas=(0.9, 0.98), weight_decay=0.001))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30)
# Behind by one of the 4 micro-batches of a step, after the first of which theirs is set.
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=30, warmup=5, eta_min_ratio=0.01, lag=1 / 4,
         convert_to_iter_based=True)]
