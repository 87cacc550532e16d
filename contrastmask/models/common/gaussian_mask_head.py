"""Mask R-CNN's mask head as Detectron starts it for one channel."""

from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.model import normal_init


@MODELS.register_module()
class GaussianMaskHead(FCNMaskHead):
    """mmdet's, whose last layer starts with a standard deviation of 0.001: by fan-out, one channel would diverge."""

    def init_weights(self) -> None:
        """MSRA, and Gaussian for the last layer."""
        super().init_weights()
        normal_init(self.conv_logits, std=0.001)
