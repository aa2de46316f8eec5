"""X-CLIP on the supervised set of the miniature benchmark (the role of K400).

The data, schedule and evaluation of vita_mini.py, and CLIP's mean and deviation, where
its authors have ImageNet's; what is CLIP's is trained at a fiftieth of the rate.

    tools/dist_train.sh configs/xclip/mini.py 2
"""
_base_ = ['../_base_/mini.py', '../_base_/clip.py']

model = dict(
    clip=_base_.clip, backbone=dict(type='XCLIPVisionTransformer', num_frames=8),
    cls_head=dict(type='XCLIPTextHead', classes=_base_.classes, average_clips='prob'))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'tower': dict(lr_mult=0.02)}))
