"""Zero-shot evaluation on the three splits of a test set: 32 frames, one view.

Manual prompts: the class name, and templates. The paper does not say how the 32 frames
are chosen: they are the centres of 32 equal parts of the video, for most videos of these
datasets are shorter than 32 x 16 frames. `--sampling stride` takes them from its middle,
at the largest stride up to 16 that fits.
"""
_base_ = 'runtime.py'

test_pipeline = [
    dict(type='OpenVideo'),
    dict(type='UniformSample', clip_len=32, test_mode=True),
    dict(type='DecodeFrames'),
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
test_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ClipDataset', pipeline=test_pipeline, test_mode=True))
test_evaluator = dict(type='SplitAccMetric')
test_cfg = dict(
    type='ZeroShotLoop', prompts=dict(name='{}', templates='clip_kinetics700'))
val_cfg = val_evaluator = None
