"""X-CLIP B/16 (Ni et al., ECCV 2022) of 8 frames: 131.50 M trained parameters."""
_base_ = 'clip.py'

model = dict(
    backbone=dict(type='XCLIPVisionTransformer', num_frames=8),
    cls_head=dict(type='XCLIPTextHead', average_clips='prob'))
