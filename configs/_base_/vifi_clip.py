"""ViFi-CLIP B/16 (Rasheed et al., CVPR 2023): all of CLIP trained, the mean of frames.

Followed as released (muzairkhattak/ViFi-CLIP, commit e2d1948): one manual prompt, the
temperature trained too, the token embedding fixed: of 149.62 M parameters 124.32 M.
"""
_base_ = 'clip.py'

model = dict(
    backbone=dict(type='CLIPVisionTransformer', trained=True),
    cls_head=dict(
        type='VitaCLIPTextHead', context='none', templates='a photo of a {}.',
        trained=True, train_embedding=False, average_clips='prob'))
