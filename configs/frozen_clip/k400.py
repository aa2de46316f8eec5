"""Frozen CLIP B/16 on Kinetics-400: the mean of 8 frames, manual prompts.

Table 6, first row: 40.10 top-1. The paper does not say with which prompts: both the class
name alone (`name/acc/top1`) and CLIP's 28 templates (`templates/acc/top1`) are evaluated.
Nothing is trained: `none` stands in place of a checkpoint.

    tools/dist_test.sh configs/frozen_clip/k400.py none 8

On SSv2, which has no figure in the paper, it is a lower bound for Table 2; on the
datasets of the zero-shot tables it is evaluated under their protocol:

    tools/dist_test.sh configs/frozen_clip/k400.py none 8 --dataset hmdb51

About 1 minute of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/runtime.py', '../_base_/vita_clip.py', '../_base_/kinetics400.py']

precision = 'bfloat16'
model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False),
    cls_head=dict(classes='kinetics400', context='none'))
train_dataloader = val_dataloader = None
test_cfg = dict(
    type='ZeroShotLoop', prompts=dict(name='{}', templates='clip_kinetics700'))
val_cfg = val_evaluator = None
