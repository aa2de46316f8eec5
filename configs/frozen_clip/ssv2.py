"""Frozen CLIP B/16 on Something-Something-V2, as vita_ssv2.py, manual prompts.

No figure in the paper: a lower bound for Table 2.

    tools/dist_test.sh configs/frozen_clip/ssv2.py none 8

About 1 minute of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = '../vita_ssv2.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False),
    cls_head=dict(context='none'))
train_dataloader = val_dataloader = None
test_cfg = dict(
    type='ZeroShotLoop', prompts=dict(name='{}', templates='clip_kinetics700'))
