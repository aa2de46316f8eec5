"""EVL on the supervised set of the miniature benchmark (the role of K400).

The data, schedule and evaluation of vita_mini.py.

    tools/dist_train.sh configs/evl/mini.py 2
"""
_base_ = ['../_base_/mini.py', '../_base_/evl.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
