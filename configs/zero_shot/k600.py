"""Vita-CLIP B/16 zero-shot on Kinetics-600: 32 frames, one view, three splits.

Table 4: 67.4 ± 0.5 top-1. The model is that of vita_k400.py:

    tools/dist_test.sh configs/zero_shot/k600.py work_dirs/vita_k400 8

All zero-shot datasets at once, beside frozen CLIP:

    python tools/zero_shot.py configs/vita_k400.py work_dirs/vita_k400

The paper's prompt is "any given class name" (`name/acc/top1`); a list of templates is
evaluated too (`templates/acc/top1`).

Which videos were used is not uniform in the literature: these are the lists of
Elaborative Rehearsal, k600_val.py takes the validation videos of the same classes.

About 3 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/kinetics600.py']

model = dict(cls_head=dict(classes='kinetics600_new220', context='none'))
