"""HMDB51, the test lists of its three official splits, all 51 classes."""
_base_ = 'zero_shot.py'

precision = 'bfloat16'
root = 'data/hmdb51'
test_dataloader = dict(dataset=dict(
    classes='hmdb51', data_prefix=dict(video=f'{root}/videos'),
    ann_file=[f'{root}/test_split{split}.txt' for split in (1, 2, 3)]))
