"""As mini_k600.py, with the summary attending to all 32 frames at once.

    python tools/test.py configs/zero_shot/mini_k600_tile.py work_dirs/vita_mini
"""
_base_ = 'mini_k600.py'

model = dict(backbone=dict(long_clips='tile'))
