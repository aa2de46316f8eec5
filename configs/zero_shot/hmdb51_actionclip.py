"""As hmdb51.py, with the sixteen templates of ActionCLIP.

Table 3, ActionCLIP: 40.8 top-1, which stands here as `actionclip/acc/top1`.

    python benchmarks/run_ablations.py --suite paper --only table3/actionclip

configs/zero_shot/hmdb51_actionclip.py takes about 1 minute of an A100 in bfloat16 (see
docs/precision.md for how that was estimated).
"""
_base_ = 'hmdb51.py'

test_cfg = dict(prompts=dict(_delete_=True, actionclip='actionclip'))
