"""Frozen CLIP B/16 on HMDB51, under the protocol of zero_shot/hmdb51.py.

No figure in the paper; FROSTER (Huang et al., ICLR 2024) reports 47.9 for it.

    tools/dist_test.sh configs/frozen_clip/hmdb51.py none 8

About 1 minute of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/frozen_clip.py', '../_base_/hmdb51.py']

model = dict(cls_head=dict(classes='hmdb51'))
