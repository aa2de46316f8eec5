"""The model of xclip/k400.py, evaluated on 4x3 views.

Table 1: 83.8 top-1, 96.7 top-5.

    tools/dist_test.sh configs/xclip/k400_4x3.py work_dirs/xclip/k400 8

About 10 minutes of an A100 in bfloat16. See docs/precision.md for how these were
estimated.
"""
_base_ = 'k400.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='UniformSample', clip_len=8, num_clips=4, test_mode=True)
test_pipeline[3].update(scale=(-1, 224))
test_pipeline[4].update(type='ThreeCrop')  # instead of CenterCrop
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
