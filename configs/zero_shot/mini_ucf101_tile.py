"""As mini_ucf101.py, with the summary attending to all 32 frames at once.

    python tools/test.py configs/zero_shot/mini_ucf101_tile.py work_dirs/vita_mini
"""
_base_ = 'mini_ucf101.py'

model = dict(backbone=dict(long_clips='tile'))
