"""CLIP B/16 without prompts: the mean of its frame features, manual prompts.

Nothing is trained: evaluate it with `none` in place of a checkpoint.
"""
_base_ = 'vita_clip.py'

model = dict(
    backbone=dict(summary=False, local=False, num_global=0, time_embedding=False),
    cls_head=dict(context='none'))
