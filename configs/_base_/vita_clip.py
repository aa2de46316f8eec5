"""Vita-CLIP B/16 as the paper trains it: S + L + G (Mv=8), class-specific contexts."""
_base_ = 'clip.py'

model = dict(
    type='VitaCLIP',
    backbone=dict(
        type='VitaCLIPVisionTransformer',
        num_frames=8,
        summary=True,
        local=True,
        num_global=8),
    cls_head=dict(
        type='VitaCLIPTextHead',
        context='csc',
        num_context=8,
        average_clips='prob'))
