"""X-CLIP B/16 on Kinetics-400, 8 frames, 1x1 view, by its authors' recipe.

Table 1: 82.3 top-1, 95.4 top-5; on 4x3 views 83.8, 96.7; of 16 frames on 4x3 views 84.7,
96.8.

    tools/dist_train.sh configs/xclip/k400.py 8
    tools/dist_test.sh configs/xclip/k400.py work_dirs/xclip/k400 8 --views 4x3
    tools/dist_train.sh configs/xclip/k400.py 8 --frames 16 --views 4x3

Training: about 14 A100 hours in bfloat16, twice that of 16 frames. Evaluation: about 1
minute of one, 10 on 4x3 views, 20 of 16 frames. See docs/precision.md for how these were
estimated. It has 131.50 M trained parameters.

What is new in it learns ten times as fast as CLIP's own weights. Of all of it,
one-dimensional parameters and position embeddings have no weight decay.
"""
_base_ = ['../_base_/runtime.py', '../_base_/clip.py', '../_base_/fine_tuning.py']

precision = 'bfloat16'
model = dict(
    backbone=dict(type='XCLIPVisionTransformer', num_frames=8),
    cls_head=dict(type='XCLIPTextHead', classes='kinetics400', average_clips='prob',
                  label_smooth_eps=0.1),
    data_preprocessor=dict(**_base_.pixels, blending=_base_.blending))
new = ('backbone.prompts', 'backbone.temporal', 'backbone.patch',
       'cls_head.video_prompts')
optim_wrapper = dict(
    constructor='FlatDecayConstructor',
    paramwise_cfg=dict(flat_decay_mult=0., custom_keys={
        **{name: dict(lr_mult=10.) for name in new},
        'backbone.temporal.positions': dict(lr_mult=10., decay_mult=0.),
        'positional_embedding': dict(decay_mult=0.)}))
