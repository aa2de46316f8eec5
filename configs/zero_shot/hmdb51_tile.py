"""As hmdb51.py, with the other reading of 32 frames for a model of 8.

Local prompts are tiled four times and the summary attends to all 32 frames, where the
released code acts on four independent windows of 8. The paper does not say which it did:
Table 3 and Table 5, zero-shot: 48.6 ± 0.6.

    tools/dist_test.sh configs/zero_shot/hmdb51_tile.py CHECKPOINT 8

About 1 minute of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = 'hmdb51.py'

model = dict(backbone=dict(long_clips='tile'))
