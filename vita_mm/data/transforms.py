"""Transforms that MMAction2 does not have."""
from mmaction.datasets.transforms import SampleFrames
from mmaction.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TightSampleFrames(SampleFrames):
    """Samples a training clip from any place where its frames fit.

    MMAction2's ``SampleFrames`` reserves clip_len * frame_interval frames in training,
    128 where the last of 8 frames at stride 16 is the 113th; the released code reserves
    113, as both do in evaluation.
    """

    def _get_ori_clip_len(self, fps_scale_ratio: float) -> float:
        return (self.clip_len - 1) * self.frame_interval + 1
