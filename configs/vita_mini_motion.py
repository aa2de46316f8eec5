"""Vita-CLIP on the motion set of the miniature benchmark (the role of SSv2).

Its classes show the same frames in different order. About 2 minutes on 2 cores.
"""
_base_ = ['_base_/mini_motion.py', '_base_/vita_clip.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
