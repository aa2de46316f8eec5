"""Kinetics-400 as X-CLIP's family reads it: a frame of each of 8 equal parts of a video,
at random in training, the middle one in evaluation; crops, colour jitter, grey.

Colours are drawn once for a clip. ``blending`` is for the systems that blend clips.
"""
_base_ = 'kinetics400.py'

blending = dict(type='RandomBatchAugment', augments=[
    dict(type='MixupBlending', alpha=0.8, num_classes=400),
    dict(type='CutmixBlending', alpha=1.0, num_classes=400)])

train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='UniformSample', clip_len=8),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66),
         random_crop=False, num_fixed_crops=13, max_wh_scale_gap=1),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='RandomApply', prob=0.8, transforms=[
        dict(type='TorchVisionWrapper', op='ColorJitter', brightness=0.4, contrast=0.4,
             saturation=0.2, hue=0.1)]),
    dict(type='TorchVisionWrapper', op='RandomGrayscale', p=0.2),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
val_pipeline = _base_.val_pipeline
val_pipeline[1] = dict(type='UniformSample', clip_len=8, test_mode=True)
val_pipeline[3].update(scale=(-1, 256))
test_pipeline = val_pipeline
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
