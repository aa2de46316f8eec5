"""The supervised set of the miniature benchmark (the role of K400) and its schedule."""
_base_ = ['runtime.py', 'kinetics400.py', 'schedule.py']

from vita_mm.engine.pipelines import with_steps

root = 'data/mini'
classes = f'{root}/k400_classes.txt'
clip = dict(arch=f'{root}/clip/ViT-Mini.json', pretrained=f'{root}/clip/vit_mini.pt')

# Frames of 96 pixels for a CLIP of 48; videos of 30 to 54 frames. The augmentation is
# gentler: a crop of 8 % or a turn of colours would leave nothing to recognise.
train_pipeline = with_steps(
    _base_.train_pipeline, OpenVideo=dict(cache=True),
    SampleFrames=dict(frame_interval=4),
    RandAugmentCrop=dict(policy='rand-m3-n1-mstd0.5-inc1', area_range=(0.6, 1.0)),
    Resize=dict(scale=(48, 48)))
val_pipeline = with_steps(
    _base_.val_pipeline, OpenVideo=dict(cache=True),
    SampleFrames=dict(frame_interval=4),
    Resize=dict(scale=(-1, 48)), CenterCrop=dict(crop_size=48))
test_pipeline = val_pipeline

data = dict(classes=classes, data_prefix=dict(video=root))
train_dataloader = dict(
    batch_size=8, num_workers=1,
    dataset=dict(ann_file=f'{root}/k400_train.txt', pipeline=train_pipeline, **data))
val_dataloader = dict(
    batch_size=24, num_workers=1,
    dataset=dict(ann_file=f'{root}/k400_val.txt', pipeline=val_pipeline, **data))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=20, val_interval=5)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=20, eta_min=0, convert_to_iter_based=True)]
