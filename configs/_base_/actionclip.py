"""ActionCLIP B/16 (Wang et al., 2021): 168.6 M trained parameters."""
_base_ = 'clip.py'

model = dict(
    backbone=dict(
        type='CLIPVisionTransformer', trained=True,
        temporal=dict(num_positions=77, num_layers=6, eps=1e-12)),
    cls_head=dict(type='ActionCLIPTextHead', average_clips='prob'))
