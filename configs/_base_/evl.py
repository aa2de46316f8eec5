"""EVL B/16 (Lin et al., ECCV 2022) of 8 frames: 33.18 M trained parameters on K400."""
_base_ = 'clip.py'

model = dict(
    backbone=dict(type='EVLVisionTransformer', num_frames=8),
    cls_head=dict(type='EVLHead', average_clips='prob'))
