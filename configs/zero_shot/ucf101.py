"""Vita-CLIP B/16 zero-shot on UCF101: 32 frames, one view, three splits.

Table 3 and Table 5, zero-shot: 75.0 ± 0.6 top-1. The model is that of vita_k400.py:

    tools/dist_test.sh configs/vita_k400.py work_dirs/vita_k400 8 --dataset ucf101
    tools/dist_test.sh configs/zero_shot/ucf101.py work_dirs/vita_k400 8

All zero-shot datasets at once, beside frozen CLIP:

    python tools/zero_shot.py configs/vita_k400.py work_dirs/vita_k400

The paper's prompt is "any given class name" (`name/acc/top1`); a list of templates is
evaluated too (`templates/acc/top1`). `--reading tile` is the other reading of 32 frames
by a model of 8: the released code acts on four independent windows of 8, there local
prompts are tiled four times and the summary attends to all frames. The paper does not say
which.

FROSTER (Huang et al., ICLR 2024) reports 73.8 for frozen CLIP. Class names are spaced
("Apply Eye Makeup"); X-CLIP and ViFi-CLIP feed the raw ones ("ApplyEyeMakeup"), which are
`--names folder`.

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/zero_shot.py']

precision = 'bfloat16'
root = 'data/ucf101'

model = dict(cls_head=dict(classes='ucf101', context='none'))

test_dataloader = dict(dataset=dict(
    classes='ucf101', data_prefix=dict(video=f'{root}/videos'),
    ann_file=[f'{root}/test_split{split}.txt' for split in (1, 2, 3)]))
test_cfg = dict(prompts=dict(templates='clip_ucf101'))
