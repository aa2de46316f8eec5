"""The released recipe with 16 context vectors, the default of its command line.

With a trained P_sum as well (`--cfg-options model.backbone.freeze_summary_proj=False`)
this has the 38.88 M trainable parameters of Table 5, which the Mc=8 of the paper's tables
has not (37.25 M). No figure of the paper is known to be of it.

    tools/dist_train.sh configs/released/vita_k400_mc16.py 8

About 160 A100 hours in float32 (see docs/precision.md for how that was estimated).
"""
_base_ = 'vita_k400.py'

model = dict(cls_head=dict(num_context=16))
