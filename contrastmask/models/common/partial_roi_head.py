"""The RoI head of every system here: masks are learnt from base categories only.

Shapes: R positive RoIs of the batch, in mmdet's order (image by image); M of them pass through the mask branch.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from contrastmask.config.options import MaskRCNNOptions, SystemOptions
from contrastmask.models.common.crop_masks import crop_masks


@dataclass(frozen=True)
class MaskRoIs:
    """An image's RoIs of the mask branch in training, each with its object; fields as in mmdet's SamplingResult."""

    pos_priors: Tensor
    """(R, 4), in pixels of the network's input."""
    pos_assigned_gt_inds: Tensor
    """(R,), rows of the image's ground truth."""
    pos_gt_labels: Tensor
    """(R,)"""


@dataclass(frozen=True)
class MaskBatch:
    """What a mask branch trains on: the R positive RoIs of a batch, of which it sees M, with their objects' masks."""

    results: list[Any]
    """Of each image: mmdet's SamplingResult, which also holds the negatives, or MaskRoIs."""
    ground_truth: InstanceList
    chosen: Tensor
    """(R,) bool: the M RoIs."""
    box_outputs: dict[str, Tensor] = field(default_factory=dict)
    """What `_bbox_forward` returned for all sampled RoIs."""
    _masks: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def positives(self) -> Tensor:
        """(R, 5)"""
        return bbox2roi([res.pos_priors for res in self.results])

    @cached_property
    def positive_labels(self) -> Tensor:
        """(R,), of the assigned objects."""
        return torch.cat([res.pos_gt_labels for res in self.results])

    @cached_property
    def rows(self) -> Tensor:
        """(M,): places of the chosen RoIs among the positives."""
        return self.chosen.nonzero()[:, 0]

    @property
    def rois(self) -> Tensor:
        """(M, 5)"""
        return self.positives[self.rows]

    @property
    def labels(self) -> Tensor:
        """(M,)"""
        return self.positive_labels[self.rows]

    def masks(self, size: int) -> Tensor:
        """Masks (R, size, size) bool of the objects, cropped to the positives; each size is cropped once."""
        if size not in self._masks:
            pairs = zip(self.results, self.ground_truth, strict=True)
            self._masks[size] = torch.cat(
                [crop_masks(gt.masks, res.pos_priors, res.pos_assigned_gt_inds, size) for res, gt in pairs]
            )
        return self._masks[size]

    def targets(self, size: int) -> Tensor:
        """Masks (M, size, size) in {0, 1} of the chosen RoIs."""
        return self.masks(size)[self.rows].float()


@MODELS.register_module()
class PartialRoIHead(StandardRoIHead):
    """Mask R-CNN's RoI head with a class-agnostic mask head whose loss sees RoIs of base categories only.

    A system says in `train_masks` how its mask branch segments RoIs in training and which losses it has beside the
    mask loss, in `detection_logits` how it does at test.

    Args:
        base_labels: labels (0 .. K - 1) of the base categories.
        num_classes: K.
        options: values of `MaskRCNNOptions` (or the method's own class, `options_class`).
        kwargs: as mmdet's StandardRoIHead.
    """

    options_class: type[SystemOptions] = MaskRCNNOptions
    options: Any  # of that class

    def __init__(self, *, base_labels: list[int], num_classes: int, options: dict, **kwargs) -> None:
        self.options = self.options_class(**options)
        super().__init__(**kwargs)
        self.progress = 0.0  # share of the training that is done; the hook `TrainingProgress` sets it
        is_base = torch.zeros(num_classes, dtype=torch.bool)
        is_base[base_labels] = True
        if self.options.novel_masks == "all":
            is_base[:] = True
        self.register_buffer("is_base", is_base)

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Losses of boxes and masks, on FPN features in fp32, whatever autocast made of them.

        mmdet gives boxes the features' type; in bf16 they would be rounded to up to 4 pixels. torchvision's RoIAlign
        has no gradient in bf16 either.
        """
        x = tuple(level.float() for level in x)
        ground_truth, ignored, _ = unpack_gt_instances(batch_data_samples)
        results = self.sample(rpn_results_list, ground_truth, ignored)
        outputs = self.bbox_loss(x, results)
        batch = MaskBatch(results, ground_truth, self.mask_rois(results), outputs)
        return outputs["loss_bbox"] | self.mask_losses(x, batch)

    def sample(
        self, proposals: InstanceList, ground_truth: InstanceList, ignored: InstanceList
    ) -> list[SamplingResult]:
        """mmdet's assignment and sampling of each image's proposals."""
        results = []
        for found, truth, ignore in zip(proposals, ground_truth, ignored, strict=True):
            found.priors = found.pop("bboxes")
            assigned = self.bbox_assigner.assign(found, truth, ignore)
            results.append(self.bbox_sampler.sample(assigned, found, truth))
        return results

    def mask_losses(self, x: tuple[Tensor, ...], batch: MaskBatch) -> dict[str, Tensor]:
        """`loss_mask` of the RoIs chosen by `mask_rois`, and the system's own losses; nothing without a mask branch."""
        if not self.with_mask:
            return {}
        logits, losses = self.train_masks(x, batch)
        return {"loss_mask": self.mask_cross_entropy(logits, batch.targets(self.train_cfg.mask_size))} | losses

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask logits (M, 1, H, W) of a batch's RoIs, and losses beside the mask loss."""
        return self._mask_forward(x, batch.rois)["mask_preds"], {}

    def mask_cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy of logits (M, 1, H, W) with targets (M, H, W); 0 with a gradient if M = 0."""
        if len(logits) == 0:
            return logits.sum() * 0
        channel = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return self.mask_head.loss_mask(logits, targets, channel)

    def positives_of_base(self, results: list[SamplingResult]) -> Tensor:
        """(R,) bool: positive RoIs whose assigned object is of a base category."""
        return self.is_base[torch.cat([res.pos_gt_labels for res in results])]

    def mask_rois(self, results: list[SamplingResult]) -> Tensor:
        """(R,) bool: the RoIs in the mask loss (option `mask_rois`)."""
        chosen = self.positives_of_base(results)
        if self.options.mask_rois == "gt":
            chosen = chosen & torch.cat([res.pos_is_gt for res in results]).bool()
        return chosen

    def predict_mask(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """mmdet's, with logits from `detection_logits`: those of most systems need more than the boxes."""
        rois = bbox2roi([results.bboxes for results in results_list])
        if len(rois) == 0:
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        return self.mask_head.predict_by_feat(
            mask_preds=self.detection_logits(x, rois, results_list).split([len(r) for r in results_list]),
            results_list=results_list,
            batch_img_metas=batch_img_metas,
            rcnn_test_cfg=self.test_cfg,
            rescale=rescale,
        )

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Mask logits (R, 1, H, W) of the detections, whose boxes are `rois` (R, 5)."""
        return self._mask_forward(x, rois)["mask_preds"]

    def predict_masks_in_boxes(
        self, x: tuple[Tensor, ...], batch_img_metas: list[dict], boxes: list[Tensor], labels: list[Tensor]
    ) -> InstanceList:
        """Masks of the mask branch in given boxes: a reading of mask quality without the detector.

        Args:
            x: FPN features.
            batch_img_metas: mmdet's image metas.
            boxes: per image (n, 4), in pixels of the network's input.
            labels: per image (n,).

        Returns:
            Per image InstanceData with `masks` (n, H, W) in the original image's pixels.
        """
        given = [
            InstanceData(bboxes=b.clone(), labels=label, scores=b.new_ones(len(b)))
            for b, label in zip(boxes, labels, strict=True)
        ]
        return self.predict_mask(x, batch_img_metas, given, rescale=True)
