"""B6 of Ju et al. on Something-Something-V2: B2 with two temporal layers.

No figure of it is in the paper.

    tools/dist_train.sh configs/efficient_prompt/b6_ssv2.py 8

Training: about 5 A100 hours in bfloat16. Evaluation: about 9 minutes of one. See
docs/precision.md for how these were estimated.
"""
_base_ = 'b2_ssv2.py'

model = dict(backbone=dict(temporal=dict(num_layers=2)))
