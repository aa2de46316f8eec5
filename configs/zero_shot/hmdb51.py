"""Vita-CLIP B/16 zero-shot on HMDB51: 32 frames, one view, three splits.

Table 3 and Table 5, zero-shot: 48.6 ± 0.6 top-1. The model is that of vita_k400.py:

    tools/dist_test.sh configs/zero_shot/hmdb51.py work_dirs/vita_k400 8

All zero-shot datasets at once, beside frozen CLIP:

    python tools/zero_shot.py configs/vita_k400.py work_dirs/vita_k400

The paper's prompt is "any given class name" (`name/acc/top1`); a list of templates is
evaluated too (`templates/acc/top1`). About 1 minute of an A100 in bfloat16 (see
docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/hmdb51.py']

model = dict(cls_head=dict(classes='hmdb51', context='none'))
