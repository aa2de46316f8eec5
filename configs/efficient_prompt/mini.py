"""A5 (Ju et al.) on the supervised set of the miniature benchmark (the role of K400).

The data, schedule and evaluation of vita_mini.py.

    tools/dist_train.sh configs/efficient_prompt/mini.py 2
"""
_base_ = ['../_base_/mini.py', '../_base_/efficient_prompt.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
