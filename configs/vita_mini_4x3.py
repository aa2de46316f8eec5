"""The model of vita_mini.py, evaluated on 4x3 views.

    python tools/test.py configs/vita_mini_4x3.py work_dirs/vita_mini
"""
_base_ = 'vita_mini.py'

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(num_clips=4)  # SampleFrames
test_pipeline[4].update(type='ThreeCrop')  # instead of CenterCrop
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=test_pipeline))
