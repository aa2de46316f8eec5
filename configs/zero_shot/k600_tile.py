"""As k600.py, with the other reading of 32 frames for a model of 8.

Local prompts are tiled four times and the summary attends to all 32 frames, where the
released code acts on four independent windows of 8. The paper does not say which it did:
Table 4: 67.4 ± 0.5.

    tools/dist_test.sh configs/zero_shot/k600_tile.py CHECKPOINT 8

About 3 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = 'k600.py'

model = dict(backbone=dict(long_clips='tile'))
