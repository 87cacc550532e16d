"""Deep-MARC (Birodkar et al., ICCV 2021): a deep hourglass for a mask head, trained in ground-truth boxes only.

What that paper adds to the shared RoI head: the mask head. That its loss sees ground-truth boxes only is the option
`mask_rois`. Checked against tensorflow/models, official/projects/deepmac_maskrcnn. Shapes: R RoIs.
"""

from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from torch import Tensor

from contrastmask.config.options import DeepMARCOptions
from contrastmask.models.common.hourglass import Hourglass
from contrastmask.models.common.partial_roi_head import PartialRoIHead
from contrastmask.models.contrastmask.mask_head import PriorFusion


@MODELS.register_module()
class DeepMaskHead(FCNMaskHead):
    """Hourglass, 2x2 deconvolution with BatchNorm, 1x1 convolution.

    Args:
        depth: of the hourglass: 20, 52 or 100.
        in_channels: of the RoI features.
        conv_out_channels: width of the hourglass's stem and of the deconvolution.
        norm_cfg: mmdet's.
        kwargs: as mmdet's FCNMaskHead, without convolutions of its own (`num_convs` 0).
    """

    def __init__(self, *, depth: int, in_channels: int, conv_out_channels: int, norm_cfg: dict, **kwargs) -> None:
        hourglass = Hourglass(in_channels, conv_out_channels, depth, norm_cfg)
        super().__init__(in_channels=hourglass.out_channels, conv_out_channels=conv_out_channels, **kwargs)
        self.hourglass = hourglass
        self.upsample_norm = build_norm_layer(norm_cfg, conv_out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits (R, 1, 64, 64) of RoI features (R, C, 32, 32)."""
        upsampled = self.upsample_norm(self.upsample(self.hourglass(x)))
        return self.conv_logits(self.relu(upsampled))


@MODELS.register_module()
class PriorDeepMaskHead(PriorFusion, DeepMaskHead):
    """ContrastMask's X, Y and A in front of Deep-MARC's head."""


@MODELS.register_module()
class DeepMARCRoIHead(PartialRoIHead):
    """The shared RoI head with Deep-MARC's options: loss in ground-truth boxes of base classes."""

    options_class = DeepMARCOptions
