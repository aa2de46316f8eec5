from vita_mm.models.common.system import System, has_types

from .model import EVLHead, EVLVisionTransformer

SYSTEM = System(
    name='evl', title='EVL',
    paper='Lin et al., "Frozen CLIP Models are Efficient Video Learners", ECCV 2022',
    code='OpenGVLab/efficient-video-recognition, commit b282e8b',
    config='configs/evl/mini.py', paper_config='configs/evl/k400.py',
    matches=has_types('EVLVisionTransformer', 'EVLHead'), refusals={
        'zero-shot': 'EVL has no text side: its classifier knows only the classes that '
                     'it was trained on'})

__all__ = ['SYSTEM', 'EVLHead', 'EVLVisionTransformer']
