"""Frozen CLIP B/16 on UCF101, under the protocol of zero_shot/ucf101.py.

No figure in the paper; FROSTER (Huang et al., ICLR 2024) reports 73.8 for it.

    tools/dist_test.sh configs/frozen_clip/ucf101.py none 8

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/frozen_clip.py', '../_base_/ucf101.py']

model = dict(cls_head=dict(classes='ucf101'))
