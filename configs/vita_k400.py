"""Vita-CLIP B/16 on Kinetics-400, 8 frames, 1x1 view.

Table 1: 80.5 top-1, 95.9 top-5; Table 5, supervised, and Table 6, last row: 80.51. On 4x3
views: 81.8 top-1, 96.0 top-5.

    tools/dist_train.sh configs/vita_k400.py 8
    tools/dist_test.sh configs/vita_k400.py work_dirs/vita_k400 8
    tools/dist_test.sh configs/vita_k400.py work_dirs/vita_k400 8 --views 4x3

Of 16 frames on 4x3 views: 82.9 top-1, 96.3 top-5. The paper does not say the stride: it
stays 16, so that a clip spans 241 frames.

    tools/dist_train.sh configs/vita_k400.py 8 --frames 16 --views 4x3

A video that is shorter than its clip is continued by the last frame taken from it
(`repeat_last`, MMAction2's reading), in evaluation as in training: the paper does not say
how, and the released code does so in training alone. In its evaluation it takes the
video's last frame, as configs/released/vita_k400.py does: other frames at 105 of the
lengths of 1 to 699 frames.

Training: about 9 A100 hours in bfloat16, twice that of 16 frames. Evaluation: about 1
minute of one, 10 on 4x3 views, 20 of 16 frames. See docs/precision.md for how these were
estimated.
"""
_base_ = ['_base_/runtime.py', '_base_/vita_clip.py', '_base_/kinetics400.py',
          '_base_/schedule.py']

precision = 'bfloat16'
model = dict(cls_head=dict(classes='kinetics400'))
