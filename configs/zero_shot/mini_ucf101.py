"""Zero-shot on the miniature's set in the role of UCF101.

    python tools/test.py configs/vita_mini.py work_dirs/vita_mini --dataset mini_ucf101
    python tools/test.py configs/zero_shot/mini_ucf101.py work_dirs/vita_mini
"""
_base_ = 'mini_hmdb51.py'

root = 'data/mini'
classes = f'{root}/ucf101_classes.txt'

model = dict(cls_head=dict(classes=classes))
test_dataloader = dict(dataset=dict(
    classes=classes,
    ann_file=[f'{root}/ucf101_test_split{split}.txt' for split in (1, 2, 3)]))
