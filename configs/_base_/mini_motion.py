"""The motion set of the miniature benchmark (the role of SSv2) and its schedule."""
_base_ = 'mini.py'

root = 'data/mini'
classes = f'{root}/ssv2_classes.txt'

train_dataloader = dict(
    dataset=dict(classes=classes, ann_file=f'{root}/ssv2_train.txt'))
val_dataloader = dict(
    dataset=dict(classes=classes, ann_file=f'{root}/ssv2_val.txt'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-3))
train_cfg = dict(max_epochs=24, val_interval=8)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=24, eta_min=0, convert_to_iter_based=True)]
