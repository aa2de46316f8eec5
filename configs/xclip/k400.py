"""X-CLIP B/16 on Kinetics-400, 8 frames, 1x1 view, by its authors' recipe.

Table 1: 82.3 top-1, 95.4 top-5; its authors report 83.8, 95.7 on 4x3 views (k400_4x3.py).

    tools/dist_train.sh configs/xclip/k400.py 8

Training: about 14 A100 hours in bfloat16. Evaluation: about 1 minute of one. See
docs/precision.md for how these were estimated.

What is new in it learns ten times as fast as CLIP's own weights. Its one-dimensional
parameters keep their weight decay, which the authors' code takes from them.
"""
_base_ = ['../_base_/runtime.py', '../_base_/xclip.py',
          '../_base_/kinetics400_segments.py', '../_base_/fine_tuning.py']

precision = 'bfloat16'
model = dict(
    cls_head=dict(classes='kinetics400', label_smooth_eps=0.1),
    data_preprocessor=dict(blending=_base_.blending))
optim_wrapper = dict(paramwise_cfg=dict(
    flat_decay_mult=0., custom_keys={
        name: dict(lr_mult=10.) for name in (
            'backbone.prompts', 'backbone.temporal', 'backbone.patch',
            'cls_head.video_prompts')}))
