"""ViFi-CLIP B/16 on Kinetics-400, 16 frames, evaluated on 4x3 views, by its authors'
recipe, which is X-CLIP's at another rate and batch.

No figure of it is in the paper; its authors report 83.9 top-1, 96.3 top-5 (its
repository's README).

    tools/dist_train.sh configs/vifi_clip/k400.py 8

Training: about 25 A100 hours in bfloat16. Evaluation: about 20 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = ['../_base_/runtime.py', '../_base_/vifi_clip.py', '../_base_/fine_tuning.py']

from vita_mm.engine.pipelines import with_steps

precision = 'bfloat16'
model = dict(
    cls_head=dict(classes='kinetics400', label_smooth_eps=0.1),
    data_preprocessor=dict(**_base_.pixels, blending=_base_.blending))
train_pipeline = with_steps(_base_.train_pipeline, SegmentSample=dict(clip_len=16))
val_pipeline = with_steps(_base_.val_pipeline, SegmentSample=dict(clip_len=16))
test_pipeline = with_steps(
    val_pipeline, Resize=dict(scale=(-1, 224)),
    SegmentSample=dict(num_clips=4),
    CenterCrop=dict(type='ThreeCrop', crop_size=224))
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=2, dataset=dict(pipeline=test_pipeline))
auto_scale_lr = dict(base_batch_size=512)
optim_wrapper = dict(accumulative_counts=16, optimizer=dict(lr=2.2e-5))
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=30, warmup=5, eta_min_ratio=0.01, lag=1 / 16,
         convert_to_iter_based=True)]
