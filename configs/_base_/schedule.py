"""The paper's schedule: 30 epochs of batches of 256, cosine, no warm-up."""
# 8 GPUs x 32 clips.
auto_scale_lr = dict(enable=False, base_batch_size=256)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=8e-4, weight_decay=0.05))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=30, eta_min=0, convert_to_iter_based=True)]
