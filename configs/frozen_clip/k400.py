"""Frozen CLIP B/16 on Kinetics-400: the mean of 8 frames, manual prompts.

Table 6, first row: 40.10 top-1. The paper does not say with which prompts: both the class
name alone (`name/acc/top1`) and CLIP's 28 templates (`templates/acc/top1`) are evaluated.

    tools/dist_test.sh configs/frozen_clip/k400.py none 8

About 1 minute of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/evaluation_only.py', '../_base_/frozen_clip.py',
          '../_base_/kinetics400.py']

precision = 'bfloat16'
model = dict(cls_head=dict(classes='kinetics400'))
train_dataloader = val_dataloader = None
