"""A5 of Ju et al. on Kinetics-400, 16 frames, evaluated on 5 views.

Table 3: 44.3 on HMDB51, 69.3 on UCF101, as `learned/acc/top1`. A6 is A5 with two temporal
layers: Table 1, 76.9 top-1, 93.5 top-5.

    tools/dist_train.sh configs/efficient_prompt/a5.py 8
    tools/dist_test.sh configs/efficient_prompt/a5.py work_dirs/efficient_prompt/a5 8 \
        --dataset hmdb51 --frames 16 --views 5x1
    tools/dist_train.sh configs/efficient_prompt/a5.py 8 --work-dir work_dirs/a6 \
        --cfg-options model.backbone.temporal.num_layers=2

Training: about 8 A100 hours in bfloat16. Evaluation: about 7 minutes of one. See
docs/precision.md for how these were estimated.

Their features were taken of frames with red and blue exchanged, on which CLIP was not
trained; `--cfg-options model.data_preprocessor.to_rgb=True` exchanges them here too (the
name is MMAction2's: it turns RGB round as it does BGR), and CLIP's mean is then taken off
the wrong channels, as theirs.

Its authors released no recipe for Kinetics: rate, decay and 100000 steps of 64 clips are
the defaults of their code. Their command for HMDB51 has a tenth of this rate
(`--cfg-options optim_wrapper.optimizer.lr=1e-4`). As there, the stride of each clip is
drawn, in evaluation, too, where a video's clips are the same in every run; `--clips even`
spreads them.
"""
_base_ = ['../_base_/runtime.py', '../_base_/efficient_prompt.py',
          '../_base_/kinetics400.py', '../_base_/schedule.py']

from vita_mm.engine.pipelines import with_steps

precision = 'bfloat16'
model = dict(cls_head=dict(classes='kinetics400'))
frames = dict(type='RandomStrideSample', clip_len=16, strides=(1, 2, 3, 3, 3, 4))
# Their features are of the centre of the frame, without augmentation.
train_pipeline = with_steps(
    _base_.train_pipeline, SampleFrames=frames,
    RandAugmentCrop=dict(type='PILResize', scale=(-1, 224)),
    Resize=dict(type='RoundedCenterCrop', crop_size=224))
val_pipeline = with_steps(
    _base_.val_pipeline, SampleFrames=dict(frames, clips='drawn', test_mode=True),
    Resize=dict(type='PILResize', scale=(-1, 224)),
    CenterCrop=dict(type='RoundedCenterCrop', crop_size=224))
test_pipeline = with_steps(val_pipeline, RandomStrideSample=dict(num_clips=5))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
auto_scale_lr = dict(base_batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.01))
train_cfg = dict(max_epochs=27)
# 100000 steps, by which their cosine has gone half its way; in what is left of the last
# epoch the rate is 0. Theirs is set after a step to that of the step just done.
param_scheduler = [
    dict(type='WarmupCosineLR', T_max=200000, end=100000, eta_min_ratio=0.01, lag=1,
         by_epoch=False),
    dict(type='ConstantLR', factor=0., begin=100000, end=10**9, by_epoch=False)]
