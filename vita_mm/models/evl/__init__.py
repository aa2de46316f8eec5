from vita_mm.models.common.description import Part, Parts, count, depth, texts
from vita_mm.models.common.system import System, has_types

from .attention import trace_decoded
from .checkpoints import FORMAT
from .model import EVLHead, EVLVisionTransformer

NO_TEXT = ('EVL has a linear classifier and no text side, so it knows only the classes '
           'that it was trained on: train it on yours, or take a system with a text side')

SYSTEM = System(
    name='evl', title='EVL',
    paper='Lin et al., "Frozen CLIP Models are Efficient Video Learners", ECCV 2022',
    code='OpenGVLab/efficient-video-recognition, commit b282e8b',
    config='configs/evl/mini.py', paper_config='configs/evl/k400.py',
    matches=has_types('EVLVisionTransformer', 'EVLHead'), trace=trace_decoded,
    parts=Parts(
        backbone=Part('EVLVisionTransformer', dict(
            num_frames=count(1), num_layers=depth), idle=frozenset({'dropout'})),
        cls_head=Part('EVLHead', dict(classes=texts), idle=frozenset({'dropout'}))),
    conversion=FORMAT,
    refusals={'zero-shot': NO_TEXT})

__all__ = ['SYSTEM', 'EVLHead', 'EVLVisionTransformer']
