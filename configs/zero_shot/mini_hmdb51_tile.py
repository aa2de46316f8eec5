"""As mini_hmdb51.py, with the summary attending to all 32 frames at once.

    python tools/test.py configs/zero_shot/mini_hmdb51_tile.py work_dirs/vita_mini
"""
_base_ = 'mini_hmdb51.py'

model = dict(backbone=dict(long_clips='tile'))
