"""A5 (B2 on SSv2) of Ju et al., ECCV 2022, on B/16: 3.20 M trained parameters.

With `num_layers=2` it is A6 (B6): 6.35 M. The letters are those of their paper; that they
mean one and two temporal layers is read from the published parameter counts. There are 16
vectors before the name and 16 behind it; `model.cls_head.prefix=4
model.cls_head.postfix=0`, for instance, says otherwise.
"""
_base_ = 'clip.py'

model = dict(
    backbone=dict(
        type='CLIPVisionTransformer',
        temporal=dict(num_positions=16, num_layers=1, residual=False, position_std=0.01,
                      linear_std=None)),
    cls_head=dict(type='EfficientPromptTextHead', average_clips='prob'))
