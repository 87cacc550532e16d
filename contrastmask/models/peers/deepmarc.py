"""Deep-MARC (Birodkar et al., ICCV 2021): a deep hourglass for a mask head, trained in ground-truth boxes only.

What that paper adds to the shared RoI head: the mask head, and what it sees in training. Checked against
tensorflow/models, official/projects/deepmac_maskrcnn. Shapes: R RoIs, of which B are in the loss.
"""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor

from contrastmask.config.options import DeepMARCOptions
from contrastmask.models.common.hourglass import Hourglass
from contrastmask.models.common.mask_batch import MaskBatch, MaskRoIs
from contrastmask.models.common.partial_roi_head import PartialRoIHead
from contrastmask.models.contrastmask.mask_head import PriorFusion

OBJECTS = 100  # of an image, in the mask head
CROP = 112  # pixels a side of the masks that targets are made of


@MODELS.register_module()
class DeepMaskHead(FCNMaskHead):
    """Hourglass, 2x2 deconvolution with BatchNorm, 1x1 convolution.

    Args:
        depth: of the hourglass: 20, 52 or 100.
        in_channels: of the RoI features.
        conv_out_channels: width of the hourglass's stem and of the deconvolution.
        norm_cfg: mmdet's, of the hourglass.
        upsample_norm_cfg: of the deconvolution, if another.
        kwargs: as mmdet's FCNMaskHead, without convolutions of its own (`num_convs` 0).
    """

    def __init__(
        self,
        *,
        depth: int,
        in_channels: int,
        conv_out_channels: int,
        norm_cfg: dict,
        upsample_norm_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        hourglass = Hourglass(in_channels, conv_out_channels, depth, norm_cfg)
        super().__init__(in_channels=hourglass.out_channels, conv_out_channels=conv_out_channels, **kwargs)
        self.hourglass = hourglass
        self.upsample_norm = build_norm_layer(upsample_norm_cfg or norm_cfg, conv_out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Mask logits (R, 1, 64, 64) of RoI features (R, C, 32, 32)."""
        upsampled = self.upsample_norm(self.upsample(self.hourglass(x)))
        return self.conv_logits(self.relu(upsampled))


@MODELS.register_module()
class PriorDeepMaskHead(PriorFusion, DeepMaskHead):
    """ContrastMask's X, Y and A in front of Deep-MARC's head."""


@MODELS.register_module()
class DeepMARCRoIHead(PartialRoIHead):
    """The shared RoI head, which with `mask_rois: gt` sees all objects of an image and not those sampled as RoIs.

    The loss sees those of base classes; BatchNorm, all. Targets are not rounded to 0 and 1.
    """

    options_class = DeepMARCOptions
    sees_novel = True

    def mask_batch(self, results: list, samples: list[DetDataSample], outputs: dict | None = None) -> MaskBatch:
        """Ground-truth boxes of each image, the first OBJECTS; with `mask_rois: positive`, the sampled RoIs."""
        if self.options.mask_rois == "gt":
            results = [MaskRoIs.of_objects(sample.gt_instances[:OBJECTS]) for sample in samples]
        return super().mask_batch(results, samples, outputs)

    def candidates(self, results: list) -> Tensor:
        """(R,) bool: all."""
        return torch.ones_like(self.positives_of_base(results))

    def mask_targets(self, batch: MaskBatch, size: int) -> Tensor:
        """(B, size, size) in [0, 1]: masks of CROP pixels a side, resized."""
        return F.interpolate(batch.targets(CROP)[:, None], size=(size, size), mode="bilinear")[:, 0]
