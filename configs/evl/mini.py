"""EVL on the supervised set of the miniature benchmark (the role of K400).

The data, schedule and evaluation of vita_mini.py.

    tools/dist_train.sh configs/evl/mini.py 2
"""
_base_ = ['../_base_/mini.py', '../_base_/clip.py']

model = dict(
    clip=_base_.clip, backbone=dict(type='EVLVisionTransformer', num_frames=8),
    cls_head=dict(type='EVLHead', classes=_base_.classes, average_clips='prob'))
