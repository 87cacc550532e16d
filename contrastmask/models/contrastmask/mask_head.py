"""The class-agnostic mask head with its three inputs X, Y and A (Sec. 3.4, Fig. 5)."""

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from torch import Tensor, nn

from contrastmask.models.contrastmask.cl_head import channels_last


class PriorFusion(nn.Module):
    """Put before a mask head's class among a class's parents, adds Y (CL head) and A (class activation map) to X.

    Args:
        fusion: "concat": Y is concatenated with X (Sec. 3.4); "add": Y is added after a 1x1 convolution (released
            code); None: there is no Y.
        in_channels: channels of X.
        kwargs: the mask head's.
    """

    def __init__(self, *, fusion: str | None, in_channels: int = 256, **kwargs) -> None:
        super().__init__(in_channels=in_channels * 2 if fusion == "concat" else in_channels, **kwargs)
        self.fusion = fusion
        if fusion == "add":
            self.fuse = ConvModule(in_channels, in_channels, 1, act_cfg=None)

    def forward(self, x: Tensor, y: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        """Mask logits (R, 1, 2H, 2W).

        Args:
            x: (R, C, H, W), RoI features.
            y: (R, C, H', W'), the CL head's features, resized to H x W here; None without a CL head.
            prior: (R, H, W), A in [0, 1], added to every channel; None without the CAM.
        """
        if y is not None:
            y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
            x = torch.cat([x, y], dim=1) if self.fusion == "concat" else x + self.fuse(y)
        if prior is not None:
            x = x + prior[:, None]
        return super().forward(channels_last(x))


@MODELS.register_module()
class PriorMaskHead(PriorFusion, FCNMaskHead):
    """Mask R-CNN's mask head on X, optionally with Y and A."""
