"""CPMask: contours and pixel affinities, learnt from base masks, carry over to novel categories.

Paper: Fan et al., ECCV 2020, https://arxiv.org/abs/2007.12387. Its code was never released: this is a reconstruction,
and configs/methods/cpmask.py says what of it is certain.

Shapes: R RoIs (base ones in training, detections at test), C channels, h x w pixels (14 x 14), P = h w.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import InstanceList
from mmengine.model import BaseModule
from torch import Tensor, nn

from contrastmask.config.options import CPMaskOptions
from contrastmask.models.common.mask_batch import MaskBatch, MaskRoIs
from contrastmask.models.common.single_stage import MaskBranch


@MODELS.register_module()
class CPMaskBoxHead(FCOSHead):
    """FCOS's head, whose detections can be had while it trains."""

    def predict_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args: Any, **kwargs: Any
    ) -> InstanceList:
        """mmdet's; distances, which its forward gives in strides in training (`norm_on_bbox`), are made pixels."""
        if self.training and self.norm_on_bbox:
            bbox_preds = [level * stride for level, stride in zip(bbox_preds, self.strides, strict=True)]
        return super().predict_by_feat(cls_scores, bbox_preds, *args, **kwargs)


@MODELS.register_module()
class CPMaskBranch(MaskBranch):
    """RoI features -> boundary parsing -> affinity parsing -> mask head. Every loss trains what lies before it."""

    options_class = CPMaskOptions

    def __init__(self, *, mask_roi_extractor: dict, **kwargs: Any) -> None:
        super().__init__(mask_roi_extractor=mask_roi_extractor, **kwargs)
        channels = mask_roi_extractor["out_channels"]
        self.boundary = BoundaryParsing(in_channels=channels, conv_out_channels=channels, class_agnostic=True)
        self.affinity = AffinityParsing(channels)

    def training_rois(self, ground_truth: InstanceList, detections: InstanceList) -> list[MaskRoIs]:
        """Ground-truth boxes, then the detections that overlap one by `train_cfg.pos_iou_thr` or more.

        A detection belongs to the object that it overlaps most, whatever class it was given.
        """
        own = super().training_rois(ground_truth, detections)
        boxes = [found.bboxes for found in detections]
        return [with_detections(*pair, self.train_cfg.pos_iou_thr) for pair in zip(own, boxes, strict=True)]

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask logits; the losses of contour and affinity, each of weight 1."""
        boundary, affinity, logits = self._parse(x, batch.rois)
        size = self.train_cfg.mask_size
        return logits, dict(
            loss_boundary=self.mask_cross_entropy(boundary[batch.base], contours(batch.targets(size))),
            loss_affinity=affinity_loss(affinity[batch.base], batch.targets(size // 2)),
        )

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Masks need the detections' boxes only."""
        return self._parse(x, rois)[-1]

    def _parse(self, x: tuple[Tensor, ...], rois: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of contour (R, 1, 2h, 2w), affinity (R, P, P) and mask (R, 1, 2h, 2w) of RoIs (R, 5)."""
        features, boundary = self.boundary(self._mask_features(x, rois))
        features, affinity = self.affinity(features)
        return boundary, affinity, self.mask_head(features)


def with_detections(own: MaskRoIs, boxes: Tensor, least_iou: float) -> MaskRoIs:
    """An image's objects `own` with those of the detected boxes (N, 4) that overlap one by `least_iou` or more."""
    if len(own.pos_priors) == 0 or len(boxes) == 0:
        return own
    iou, nearest = bbox_overlaps(boxes, own.pos_priors).max(dim=1)
    kept = iou >= least_iou
    nearest = nearest[kept]
    return MaskRoIs(
        torch.cat([own.pos_priors, boxes[kept]]),
        torch.cat([own.pos_assigned_gt_inds, own.pos_assigned_gt_inds[nearest]]),
        torch.cat([own.pos_gt_labels, own.pos_gt_labels[nearest]]),
    )


# ---------------------------------------------------------------------------- boundary


class BoundaryParsing(FCNMaskHead):
    """Mask R-CNN's mask head made to predict the contour; what its convolutions learnt is added to their input."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, h, w) to features of the same shape and contour logits (R, 1, 2h, 2w)."""
        parsed = x
        for conv in self.convs:
            parsed = conv(parsed)
        return x + parsed, self.conv_logits(self.relu(self.upsample(parsed)))


def contours(masks: Tensor) -> Tensor:
    """Two-pixel contours of masks (R, h, w) in {0, 1}: one pixel inside, one outside.

    Dilation by the cross of a pixel and its 4 neighbours, less erosion by it. What lies outside the map changes neither
    (as in scikit-image): an object cut off by its RoI has no contour there.
    """
    return _cross_maximum(masks) + _cross_maximum(-masks)  # the erosion is the second's negative


def _cross_maximum(masks: Tensor) -> Tensor:
    columns = F.max_pool2d(masks[:, None], (3, 1), stride=1, padding=(1, 0))
    rows = F.max_pool2d(masks[:, None], (1, 3), stride=1, padding=(0, 1))
    return torch.maximum(columns, rows)[:, 0]


# ---------------------------------------------------------------------------- affinity


class AffinityParsing(BaseModule):
    """Non-local block whose pairwise weights are supervised: each pixel takes the features of those it is akin to.

    The affinity of pixels i and j is a_ij = sigmoid(theta_i . phi_j / sqrt(D)), D = C / 2, and
    y_i = x_i + W (sum_j a_ij g_j / sum_j a_ij). W starts at 0, so that the block starts as the identity.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        zero = dict(type="Constant", name="output", val=0)
        super().__init__(init_cfg=dict(type="Xavier", layer="Conv2d", override=zero))
        self.theta, self.phi, self.g = (nn.Conv2d(channels, channels // 2, 1) for _ in range(3))
        self.output = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, h, w) to features of the same shape and affinity logits (R, P, P), rows i, columns j.

        Always in fp32: 150 kB a RoI at 14 x 14 pixels, some four times that with what the loss keeps.
        """
        theta, phi, g = (layer(x).flatten(2).float() for layer in (self.theta, self.phi, self.g))
        with torch.autocast(x.device.type, enabled=False):
            logits = theta.transpose(1, 2) @ phi / theta.shape[1] ** 0.5
            weights = F.logsigmoid(logits).softmax(dim=2)  # a_ij / sum_j a_ij, never 0 / 0
            average = (g @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.output(average), logits


def affinity_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of affinities: half its mean over pairs of pixels that are both object or both not, half that over
    the other pairs, of which an object that fills its RoI has none. 0 without RoIs.

    Args:
        logits: (R, P, P).
        masks: (R, h, w) in {0, 1}.
    """
    pixels = masks.flatten(1)
    same = (pixels[:, :, None] == pixels[:, None]).float()
    losses = F.binary_cross_entropy_with_logits(logits, same, reduction="none")
    means = [(losses * pairs).sum() / pairs.sum().clamp(min=1) for pairs in (same, 1 - same)]
    return torch.stack(means).mean()
