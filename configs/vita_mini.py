"""Vita-CLIP on the supervised set of the miniature benchmark (the role of K400).

Differs from vita_k400.py in data, CLIP and schedule only. About 2 minutes on 2 cores.

    python tools/make_mini.py
    tools/dist_train.sh configs/vita_mini.py 2
    python tools/test.py configs/vita_mini.py work_dirs/vita_mini --views 4x3
    python tools/test.py configs/vita_mini.py work_dirs/vita_mini --dataset mini_hmdb51
"""
_base_ = ['_base_/mini.py', '_base_/vita_clip.py']

model = dict(clip=_base_.clip, cls_head=dict(classes=_base_.classes))
