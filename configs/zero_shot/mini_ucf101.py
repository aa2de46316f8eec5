"""Zero-shot on the miniature's set in the role of UCF101.

    python tools/test.py configs/zero_shot/mini_ucf101.py work_dirs/vita_mini
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/mini_zero_shot.py']

root = 'data/mini'
classes = f'{root}/ucf101_classes.txt'

model = dict(
    clip=dict(arch=f'{root}/clip/ViT-Mini.json', pretrained=f'{root}/clip/vit_mini.pt'),
    cls_head=dict(classes=classes, context='none'))
test_dataloader = dict(dataset=dict(
    classes=classes,
    ann_file=[f'{root}/ucf101_test_split{split}.txt' for split in (1, 2, 3)]))
