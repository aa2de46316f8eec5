"""Kinetics-600, three published samples of 160 of the 220 classes that are not in K400.

The videos are those listed by Elaborative Rehearsal (Chen and Huang, ICCV 2021).
"""
_base_ = 'zero_shot.py'

precision = 'bfloat16'
root = 'data/kinetics600'
test_dataloader = dict(dataset=dict(
    classes='kinetics600_new220', data_prefix=dict(video=f'{root}/videos'),
    ann_file=[f'{root}/er_split{split}.txt' for split in (1, 2, 3)]))
test_evaluator = dict(
    candidates=[f'{root}/classes_split{split}.txt' for split in (1, 2, 3)])
