"""Zero-shot on the miniature's set in the role of HMDB51, in its small frames.

    python tools/test.py configs/vita_mini.py work_dirs/vita_mini --dataset mini_hmdb51
    python tools/test.py configs/zero_shot/mini_hmdb51.py work_dirs/vita_mini
"""
_base_ = ['../_base_/vita_clip.py', '../_base_/zero_shot.py']

from vita_mm.engine.pipelines import with_steps

root = 'data/mini'
classes = f'{root}/hmdb51_classes.txt'

test_pipeline = with_steps(
    _base_.test_pipeline, OpenVideo=dict(cache=True),
    Resize=dict(scale=(-1, 48)), CenterCrop=dict(crop_size=48))
model = dict(
    clip=dict(arch=f'{root}/clip/ViT-Mini.json', pretrained=f'{root}/clip/vit_mini.pt'),
    cls_head=dict(classes=classes, context='none'))
test_dataloader = dict(
    batch_size=24, num_workers=1, dataset=dict(
        classes=classes, pipeline=test_pipeline, data_prefix=dict(video=root),
        ann_file=[f'{root}/hmdb51_test_split{split}.txt' for split in (1, 2, 3)]))
test_cfg = dict(prompts=dict(templates=[
    'a {}', 'a photo of a {}', 'a drawing of a {}']))
