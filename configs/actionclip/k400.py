"""ActionCLIP B/16 on Kinetics-400, 32 frames, evaluated on 10x3 views, by its authors'
recipe.

Table 1: 83.8 top-1, 96.2 top-5; Table 3, with its sixteen templates: 40.8 on HMDB51, 58.3
on UCF101.

    tools/dist_train.sh configs/actionclip/k400.py 8
    tools/dist_test.sh configs/actionclip/k400.py work_dirs/actionclip/k400 8 \
        --dataset hmdb51 --prompts actionclip

Training: about 113 A100 hours in bfloat16. Evaluation: about 85 minutes of one. See
docs/precision.md for how these were estimated.

The temporal layers learn ten times as fast as CLIP. RandAugment and colour jitter are
drawn for each frame anew, which tears the motion of a clip apart; `--draws clip` draws
once for all of its frames. Their code has one view: how the ten clips and three crops of
the paper were cropped is not released.
"""
_base_ = ['../_base_/runtime.py', '../_base_/actionclip.py', '../_base_/fine_tuning.py']

from vita_mm.engine.pipelines import with_steps

precision = 'bfloat16'
model = dict(backbone=dict(checkpointing=True), cls_head=dict(classes='kinetics400'))
train_pipeline = [
    dict(type='OpenVideo'),
    dict(type='SegmentSample', clip_len=32, rule='actionclip'),
    dict(type='DecodeFrames'),
    dict(type='FrameRandAugment', num_ops=2, magnitude=9, draws='frame'),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66),
         random_crop=False, num_fixed_crops=13, max_wh_scale_gap=1),
    dict(type='PILResize', scale=(224, 224), keep_ratio=False, interpolation='bilinear'),
    *_base_.colours,
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# The released code has one clip, so that the ten of the paper are drawn by none.
val_pipeline = with_steps(
    _base_.val_pipeline,
    SegmentSample=dict(clip_len=32, rule='actionclip', clips='even'),
    Resize=dict(type='PILResize', scale=(-1, 256)),
    CenterCrop=dict(type='RoundedCenterCrop', crop_size=224))
test_pipeline = with_steps(
    val_pipeline, PILResize=dict(scale=(-1, 224)), SegmentSample=dict(num_clips=10),
    RoundedCenterCrop=dict(type='ThreeCrop', crop_size=224))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
auto_scale_lr = dict(base_batch_size=128)
optim_wrapper = dict(
    accumulative_counts=1, optimizer=dict(lr=5e-6, weight_decay=0.2),
    paramwise_cfg=dict(custom_keys={'temporal': dict(lr_mult=10.)}))
train_cfg = dict(max_epochs=50)
# Their rate is set at the first step of an epoch, and at each tenth.
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=50, warmup=5, after_warmup=True, eta_min_ratio=0.,
         lag=0., hold=10, convert_to_iter_based=True)]
