"""B2 of Ju et al. on Something-Something-V2: A5 on other data.

Table 2: 38.1 top-1. B6 is B2 with two temporal layers
(`--cfg-options model.backbone.temporal.num_layers=2`); no figure of it is in the paper.

    tools/dist_train.sh configs/efficient_prompt/b2_ssv2.py 8

Training: about 7 A100 hours in bfloat16. Evaluation: about 9 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = 'a5.py'

classes = 'ssv2'
root = 'data/ssv2'

model = dict(cls_head=dict(classes=classes))
data = dict(classes=classes, data_prefix=dict(video=f'{root}/videos'))
train_dataloader = dict(dataset=dict(ann_file=f'{root}/train.txt', **data))
val_dataloader = dict(dataset=dict(ann_file=f'{root}/val.txt', **data))
test_dataloader = dict(dataset=dict(ann_file=f'{root}/val.txt', **data))
train_cfg = dict(max_epochs=38)  # its 100000 steps, of 169,000 videos
