"""What every run shares: hooks, logging, tracking, evaluation, reproducibility."""
# First, so that the shims of vita_mm.compat act before torchvision is imported.
custom_imports = dict(imports=['vita_mm'], allow_failed_imports=False)
default_scope = 'mmaction'
# float32, tf32, bfloat16 or float16: of training and evaluation, see docs/precision.md.
precision = 'float32'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='RankZeroLoggerHook', interval=20),
    param_scheduler=dict(type='StepScheduleHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    checkpoint=dict(type='MarkedCheckpointHook', interval=1, max_keep_ckpts=3,
                    save_best='acc/top1', rule='greater'))
custom_hooks = [
    dict(type='ClassCheckHook'),
    dict(type='FiniteHook'),
    dict(type='ExactResumeHook'),
    dict(type='TextOncePerStepHook'),
    dict(type='DescriptionHook'),
    dict(type='SelectionHook'),
    dict(type='SubstituteHook'),
    dict(type='ConfusionHook'),
    dict(type='TrackingHook'),
]

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# A video that cannot be read counts as a miss; unreadable='exclude' leaves it out.
val_evaluator = dict(type='VideoAccMetric', unreadable='miss')
test_evaluator = val_evaluator

visualizer = dict(
    type='ActionVisualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='MLflowTracking')])
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'

randomness = dict(seed=0, deterministic=True)
env_cfg = dict(
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
launcher = 'none'
load_from = None
resume = False
