"""Frozen CLIP on the miniature's supervised set, evaluated as vita_mini.py.

Class names are its prompts. Nothing is trained: `none` stands in place of a checkpoint.

    python tools/test.py configs/frozen_clip/mini_k400.py none
    python tools/test.py configs/frozen_clip/mini_k400.py none --dataset mini_ssv2
"""
_base_ = '../vita_mini.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False),
    cls_head=dict(context='none'))
train_dataloader = val_dataloader = None
test_cfg = dict(type='ZeroShotLoop', prompts=dict(name='{}'))
