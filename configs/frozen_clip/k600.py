"""Frozen CLIP B/16 on Kinetics-600, under the protocol of zero_shot/k600.py.

No figure in the paper; FROSTER (Huang et al., ICLR 2024) reports 68.1 for it.

    tools/dist_test.sh configs/frozen_clip/k600.py none 8

About 3 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/frozen_clip.py', '../_base_/kinetics600.py']

model = dict(cls_head=dict(classes='kinetics600_new220'))
