"""X-CLIP B/16 on Kinetics-400, 32 frames, 10 epochs: its model of zero-shot.

Table 5: 78.2 top-1 on K400; Tables 3 and 4 with `--dataset hmdb51`, `ucf101`, `k600`.

    tools/dist_train.sh configs/xclip/k400_32f.py 8

Training: about 25 A100 hours in bfloat16. Evaluation: about 3 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = 'k400.py'

from vita_mm.engine.pipelines import with_steps

model = dict(backbone=dict(num_frames=32, checkpointing=True))
train_pipeline = with_steps(_base_.train_pipeline, SegmentSample=dict(clip_len=32))
val_pipeline = with_steps(_base_.val_pipeline, SegmentSample=dict(clip_len=32))
test_pipeline = val_pipeline
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=8)
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=10, warmup=5, eta_min_ratio=0.01, lag=1 / 8,
         convert_to_iter_based=True)]
