"""As k600_val.py, with the other reading of 32 frames for a model of 8.

Table 4: 67.4 ± 0.5 top-1; see k600_tile.py.

    tools/dist_test.sh configs/zero_shot/k600_val_tile.py CHECKPOINT 8

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = 'k600_val.py'

model = dict(backbone=dict(long_clips='tile'))
