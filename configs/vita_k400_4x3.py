"""Vita-CLIP B/16 on Kinetics-400, 8 frames, evaluated on 4x3 views.

Table 1: 81.8 top-1, 96.0 top-5. The model is that of vita_k400.py:

    tools/dist_test.sh configs/vita_k400_4x3.py work_dirs/vita_k400 8

About 10 minutes of an A100 in bfloat16 (see docs/precision.md for how that was
estimated).
"""
_base_ = 'vita_k400.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(num_clips=4)  # SampleFrames
test_pipeline[4].update(type='ThreeCrop')  # instead of CenterCrop
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
