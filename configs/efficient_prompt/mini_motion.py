"""B2 (Ju et al.) on the motion set of the miniature benchmark (the role of SSv2).

The data, schedule and evaluation of vita_mini_motion.py.
"""
_base_ = ['../_base_/mini_motion.py', '../_base_/efficient_prompt.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
