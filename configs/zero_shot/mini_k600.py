"""Zero-shot on the miniature's set in the role of Kinetics-600.

    python tools/test.py configs/vita_mini.py work_dirs/vita_mini --dataset mini_k600
    python tools/test.py configs/zero_shot/mini_k600.py work_dirs/vita_mini
"""
_base_ = 'mini_hmdb51.py'

root = 'data/mini'
classes = f'{root}/k600_classes.txt'

model = dict(cls_head=dict(classes=classes))
test_dataloader = dict(dataset=dict(
    classes=classes,
    ann_file=[f'{root}/k600_split{split}.txt' for split in (1, 2, 3)]))
test_evaluator = dict(
    candidates=[f'{root}/k600_split{split}_candidates.txt' for split in (1, 2, 3)])
