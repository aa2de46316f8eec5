"""Frozen CLIP under the protocol of zero_shot/mini_hmdb51.py.

    python tools/test.py configs/frozen_clip/mini_hmdb51.py none
"""
_base_ = '../zero_shot/mini_hmdb51.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False))
