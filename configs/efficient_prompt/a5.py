"""A5 of Ju et al. on Kinetics-400, 16 frames, evaluated on 5 views.

Table 3: 44.3 on HMDB51, 69.3 on UCF101, with zero_shot/{hmdb51,ucf101}_16f.py.

    tools/dist_train.sh configs/efficient_prompt/a5.py 8

Training: about 8 A100 hours in bfloat16. Evaluation: about 7 minutes of one. See
docs/precision.md for how these were estimated.

Its authors released no recipe for Kinetics: rate, decay and 100000 steps of 64 clips are
the defaults of their code, frames at a third of 30 a second its likeliest draw.
"""
_base_ = ['../_base_/runtime.py', '../_base_/efficient_prompt.py',
          '../_base_/kinetics400.py', '../_base_/schedule.py']

precision = 'bfloat16'
model = dict(cls_head=dict(classes='kinetics400'))
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(clip_len=16, frame_interval=3)  # SampleFrames
# Their features are of the centre of the frame, without augmentation.
train_pipeline[3:5] = [dict(type='Resize', scale=(-1, 224)),
                       dict(type='CenterCrop', crop_size=224)]
val_pipeline = _base_.val_pipeline
val_pipeline[1].update(clip_len=16, frame_interval=3)  # SampleFrames
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(clip_len=16, frame_interval=3, num_clips=5)  # SampleFrames
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.01))
train_cfg = dict(max_epochs=27)
# Their cosine has gone half its way by then.
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=54, end=27, eta_min_ratio=0.01,
         convert_to_iter_based=True)]
