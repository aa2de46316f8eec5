"""As ucf101.py, on 16 frames: for models that take no more.

Table 3, A5: 69.3 top-1, which stands here as `learned/acc/top1`.

    python benchmarks/run_ablations.py --suite paper --only table3/a5

configs/zero_shot/ucf101_16f.py takes about 1 minute of an A100 in bfloat16 (see
docs/precision.md for how that was estimated).
"""
_base_ = 'ucf101.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(clip_len=16)  # UniformSample
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
