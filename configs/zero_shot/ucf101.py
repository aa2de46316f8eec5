"""Vita-CLIP B/16 zero-shot on UCF101: 32 frames, one view, three splits.

Table 3 and Table 5, zero-shot: 75.0 ± 0.6 top-1. The model is that of vita_k400.py:

    tools/dist_test.sh configs/zero_shot/ucf101.py work_dirs/vita_k400 8

All zero-shot datasets at once, beside frozen CLIP:

    python tools/zero_shot.py configs/vita_k400.py work_dirs/vita_k400

The paper's prompt is "any given class name" (`name/acc/top1`); a list of templates is
evaluated too (`templates/acc/top1`).

Class names are spaced ("Apply Eye Makeup"); X-CLIP feeds the raw ones, which are
`--cfg-options model.cls_head.classes=ucf101:folder
test_dataloader.dataset.classes=ucf101:folder`.

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/ucf101.py']

model = dict(cls_head=dict(classes='ucf101', context='none'))
