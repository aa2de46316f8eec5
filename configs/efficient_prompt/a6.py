"""A6 of Ju et al. on Kinetics-400: A5 with two temporal layers.

Table 1: 76.9 top-1, 93.5 top-5.

    tools/dist_train.sh configs/efficient_prompt/a6.py 8

Training: about 8 A100 hours in bfloat16. Evaluation: about 7 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = 'a5.py'

model = dict(backbone=dict(temporal=dict(num_layers=2)))
