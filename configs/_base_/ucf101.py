"""UCF101, the test lists of its three official splits, all 101 classes."""
_base_ = 'zero_shot.py'

precision = 'bfloat16'
root = 'data/ucf101'
test_dataloader = dict(dataset=dict(
    classes='ucf101', data_prefix=dict(video=f'{root}/videos'),
    ann_file=[f'{root}/test_split{split}.txt' for split in (1, 2, 3)]))
test_cfg = dict(prompts=dict(templates='clip_ucf101'))
