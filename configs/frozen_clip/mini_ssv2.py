"""Frozen CLIP on the miniature's motion set, evaluated as vita_mini_motion.py, class names as prompts.

    python tools/test.py configs/frozen_clip/mini_ssv2.py none
"""
_base_ = '../vita_mini_motion.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False),
    cls_head=dict(context='none'))
train_dataloader = val_dataloader = None
test_cfg = dict(type='ZeroShotLoop', prompts=dict(name='{}'))
