"""OPMask (Biertimpel et al., ICCV 2021): the class activation map as an object mask prior.

What that paper adds to the shared RoI head with a map (`models.common.cam`): a wide convolutional box head whose one
trunk serves class and box, and a deep mask head with BatchNorm. Checked against the authors' dbtmpl/OPMask.
Shapes: R RoIs, K classes.
"""

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import nn

from contrastmask.config.options import OPMaskOptions
from contrastmask.models.common.cam import CAMRoIHead
from contrastmask.models.common.partial_roi_head import GaussianMaskHead
from contrastmask.models.contrastmask.box_head import CAMBoxHead
from contrastmask.models.contrastmask.mask_head import PriorFusion


@MODELS.register_module()
class OPMaskBoxHead(CAMBoxHead):
    """3x3 Conv-BN-ReLU of growing width, spatial mean, one linear layer each for class and box.

    The last map, (R, 1024, 7, 7) in the paper, is both classified and regressed from; its map is the prior.

    Args:
        in_channels: of the RoI features.
        conv_channels: width of each convolution.
        norm_cfg: mmdet's.
        kwargs: as mmdet's ConvFCBBoxHead.
    """

    def __init__(self, *, in_channels: int, conv_channels: list[int], norm_cfg: dict, **kwargs) -> None:
        last = conv_channels[-1]
        # to mmdet's head this is one shared convolution, whose place the trunk takes
        super().__init__(in_channels=last, conv_out_channels=last, num_shared_convs=1, with_avg_pool=True, **kwargs)
        self.shared_convs = nn.ModuleList(
            ConvModule(before, after, 3, padding=1, norm_cfg=norm_cfg)
            for before, after in zip([in_channels, *conv_channels], conv_channels, strict=False)
        )

    def init_weights(self) -> None:
        """mmdet's and detectron2's: Gaussian of 0.01 (class) and 0.001 (box)."""
        super(CAMBoxHead, self).init_weights()


@MODELS.register_module()
class OPMaskMaskHead(PriorFusion, GaussianMaskHead):
    """Mask R-CNN's mask head on X + A, its logits starting near 0; depth and BatchNorm are the configuration's."""

    def __init__(self, **kwargs) -> None:
        super().__init__(fusion=None, **kwargs)


@MODELS.register_module()
class OPMaskRoIHead(CAMRoIHead):
    """The map's RoI head with OPMask's options: normalised at 7 x 7, loss on all positive RoIs of base classes, while
    the mask head's BatchNorm sees novel ones too.
    """

    options_class = OPMaskOptions
    sees_novel = True
