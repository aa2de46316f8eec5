"""X-CLIP on the supervised set of the miniature benchmark (the role of K400).

The data, schedule and evaluation of vita_mini.py; what is CLIP's is trained at a
fiftieth of the rate.

    tools/dist_train.sh configs/xclip/mini.py 2
"""
_base_ = ['../_base_/mini.py', '../_base_/xclip.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'tower': dict(lr_mult=0.02)}))
