"""As k600.py, on the validation videos of Kinetics-600 of the same classes.

Table 4: 67.4 ± 0.5 top-1; which videos the paper took is not known.

    tools/dist_test.sh configs/zero_shot/k600_val.py CHECKPOINT 8

About 2 minutes of an A100 in bfloat16 (see docs/precision.md for how that was estimated).
"""
_base_ = 'k600.py'

root = 'data/kinetics600'
test_dataloader = dict(dataset=dict(
    ann_file=[f'{root}/val_split{split}.txt' for split in (1, 2, 3)]))
