"""Frozen CLIP under the protocol of zero_shot/mini_k600.py.

    python tools/test.py configs/frozen_clip/mini_k600.py none
"""
_base_ = '../zero_shot/mini_k600.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False))
