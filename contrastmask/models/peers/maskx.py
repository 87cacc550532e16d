"""MaskX R-CNN: each class's mask weights are predicted from its box-head weights.

Paper: https://arxiv.org/abs/1711.10370; code read: ronghanghu/seg_every_thing, lib/modeling/mask_rcnn_heads.py.
Shapes: R RoIs, K classes, D entries of a class descriptor, C channels, H x W the mask (28 x 28).
"""

import torch
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor, nn

from contrastmask.config.options import MaskXOptions
from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.common.partial_roi_head import PartialRoIHead


def class_descriptors(box_head: BBoxHead) -> Tensor:
    """What the box head knows of each class, (K, D): its classifier row, then its four box regression rows.

    Biases are left out, as in the code read. mmdet's classifier has K + 1 rows, the background's last; its regression
    4 K, class by class. With 1024 channels D = 5120.
    """
    number = box_head.num_classes
    return torch.cat([box_head.fc_cls.weight[:number], box_head.fc_reg.weight.view(number, -1)], dim=1)


@MODELS.register_module()
class TransferMaskHead(FCNMaskHead):
    """Mask R-CNN's mask head whose last layer, a 1x1 convolution without bias, is predicted for each class.

    Args:
        descriptor_channels: D.
        mlp: add the class-agnostic mask of one fully connected layer over all C x H x W features.
        kwargs: as mmdet's FCNMaskHead, class-agnostic: it gives one map for each RoI, that of the RoI's class.
    """

    def __init__(self, *, descriptor_channels: int, mlp: bool, **kwargs) -> None:
        super().__init__(**kwargs)
        self.conv_logits = nn.Identity()  # mmdet's forward then ends with the features
        channels = self.conv_out_channels
        self.transfer = nn.Sequential(
            nn.Linear(descriptor_channels, channels), nn.LeakyReLU(0.1), nn.Linear(channels, channels)
        )
        pixels = self.roi_feat_size[0] * self.roi_feat_size[1] * self.scale_factor**2
        self.mlp = nn.Linear(channels * pixels, pixels) if mlp else None

    def init_weights(self) -> None:
        """mmdet's; the transfer as Caffe2's MSRAFill (fan-out), the MLP Gaussian 0.001; biases 0."""
        super().init_weights()
        for layer in self.transfer:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        if self.mlp is not None:
            nn.init.normal_(self.mlp.weight, std=0.001)
            nn.init.zeros_(self.mlp.bias)

    def forward(self, x: Tensor, labels: Tensor, descriptors: Tensor) -> Tensor:
        """Mask logits (R, 1, H, W) of each RoI for its own class only.

        Args:
            x: (R, C, H / 2, W / 2), RoI features.
            labels: (R,), the ground truth's class in training, the predicted one at test.
            descriptors: (K, D).
        """
        features = super().forward(x)
        kernels = self.transfer(descriptors)  # (K, C)
        logits = torch.einsum("rchw,rc->rhw", features, kernels[labels])[:, None]
        if self.mlp is not None:
            logits = logits + self.mlp(features.flatten(1)).view_as(logits)
        return logits


@MODELS.register_module()
class MaskXRoIHead(PartialRoIHead):
    """Hands the mask head each RoI's class and the box head's class descriptors.

    Masks of base classes train the transfer, which then serves every class.
    """

    options_class = MaskXOptions
    options: MaskXOptions

    def init_mask_head(self, mask_roi_extractor: dict, mask_head: dict) -> None:
        """mmdet's, after the box head is built, whose width decides that of the descriptors."""
        width = class_descriptors(self.bbox_head).shape[1]
        super().init_mask_head(mask_roi_extractor, dict(mask_head, descriptor_channels=width, mlp=self.options.mlp))

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Each RoI on the map of its ground-truth class."""
        return self._mask_logits(x, batch.rois, batch.labels), {}

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Each detection on the map of its predicted class."""
        return self._mask_logits(x, rois, torch.cat([results.labels for results in results_list]))

    def _mask_logits(self, x: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> Tensor:
        """Logits (R, 1, H, W) of RoIs (R, 5) for classes (R,)."""
        descriptors = class_descriptors(self.bbox_head)
        if self.options.detach_descriptor:
            descriptors = descriptors.detach()
        return self.mask_head(self._mask_features(x, rois), labels, descriptors)
