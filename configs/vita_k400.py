"""Vita-CLIP B/16 on Kinetics-400, 8 frames.

Table 1: 80.5 top-1, 95.9 top-5 (1 view); Table 5 and Table 6, last row: 80.51.

    tools/dist_train.sh configs/vita_k400.py 8
    tools/dist_test.sh configs/vita_k400.py work_dirs/vita_k400/best_acc_top1_*.pth 8

Expects data/kinetics400/{train,val}.txt with lines "path label", the paths relative to
data/kinetics400, and labels in the order of `classes`.
"""
_base_ = ['_base_/runtime.py', '_base_/vita_clip.py']

classes = 'kinetics400'
root = 'data/kinetics400'

model = dict(cls_head=dict(classes=classes))

train_pipeline = [
    dict(type='DecordInit', num_threads=1),
    dict(type='SampleFrames', clip_len=8, frame_interval=16,
         out_of_bound_opt='repeat_last'),
    dict(type='DecordDecode'),
    dict(type='ClipRandAugment', policy='rand-m7-n4-mstd0.5-inc1'),
    dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
val_pipeline = [
    dict(type='DecordInit', num_threads=1),
    dict(type='SampleFrames', clip_len=8, frame_interval=16, test_mode=True,
         out_of_bound_opt='repeat_last'),
    dict(type='DecordDecode'),
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
        data_prefix=dict(video=root), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ClipDataset', classes=classes, ann_file=f'{root}/val.txt',
        data_prefix=dict(video=root), pipeline=val_pipeline, test_mode=True))
test_dataloader = val_dataloader

# 8 GPUs x 32 clips = the paper's batch of 256.
auto_scale_lr = dict(enable=False, base_batch_size=256)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=8e-4, weight_decay=0.05))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=30, eta_min=0, convert_to_iter_based=True)]
