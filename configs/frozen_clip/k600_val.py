"""Frozen CLIP B/16 on Kinetics-600, under the protocol of zero_shot/k600_val.py.

No figure in the paper.

    tools/dist_test.sh configs/frozen_clip/k600_val.py none 8

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = 'k600.py'

root = 'data/kinetics600'
test_dataloader = dict(dataset=dict(
    ann_file=[f'{root}/val_split{split}.txt' for split in (1, 2, 3)]))
