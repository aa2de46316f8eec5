"""Kinetics-400: random clips of 8 frames at stride 16, one centre view in evaluation.

data/kinetics400 is what `tools/prepare_dataset.py kinetics400 ROOT` makes: train.txt and
val.txt with lines "path label", and the videos under videos/.
"""
classes = 'kinetics400'
root = 'data/kinetics400'

train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=8, frame_interval=16,
         out_of_bound_opt='repeat_last'),
    dict(type='DecodeFrames'),
    dict(type='RandAugmentCrop', policy='rand-m7-n4-mstd0.5-inc1',
         area_range=(0.08, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
val_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', clip_len=8, frame_interval=16, test_mode=True,
         out_of_bound_opt='repeat_last'),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
test_pipeline = val_pipeline

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='SeededSampler', shuffle=True),
    dataset=dict(
        type='ClipDataset', classes=classes, ann_file=f'{root}/train.txt',
        data_prefix=dict(video=f'{root}/videos'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ClipDataset', classes=classes, ann_file=f'{root}/val.txt',
        data_prefix=dict(video=f'{root}/videos'), pipeline=val_pipeline, test_mode=True))
test_dataloader = val_dataloader
