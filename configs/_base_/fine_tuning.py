"""How X-CLIP's family trains: 30 epochs of batches of 256, 5 of them warming up.

Where the released code's cosine counts the warm-up as passed, here it begins behind it.
"""
# 8 GPUs x 8 clips x 4 micro-batches.
auto_scale_lr = dict(enable=False, base_batch_size=256)
optim_wrapper = dict(
    type='OptimWrapper', accumulative_counts=4,
    optimizer=dict(type='AdamW', lr=8e-6, betas=(0.9, 0.98), weight_decay=0.001))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=25, begin=5, end=30, eta_min_ratio=0.01,
         convert_to_iter_based=True)]
