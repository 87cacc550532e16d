"""The RoI head of every two-stage system here: masks are learnt from base categories only.

Shapes: R positive RoIs of the batch, in mmdet's order (image by image).
"""

from typing import Any

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from contrastmask.config.options import MaskRCNNOptions, SystemOptions
from contrastmask.models.common.crop_masks import crop_masks


@MODELS.register_module()
class PartialRoIHead(StandardRoIHead):
    """Mask R-CNN's RoI head with a class-agnostic mask head whose loss sees RoIs of base categories only.

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
        is_base = torch.zeros(num_classes, dtype=torch.bool)
        is_base[base_labels] = True
        if self.options.novel_masks == "all":
            is_base[:] = True
        self.register_buffer("is_base", is_base)

    def loss(
        self, x: tuple[Tensor], rpn_results_list: InstanceList, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """mmdet's, on FPN features in fp32, whatever autocast made of them.

        mmdet gives boxes the features' type; in bf16 they would be rounded to up to 4 pixels. torchvision's RoIAlign
        has no gradient in bf16 either.
        """
        return super().loss(tuple(level.float() for level in x), rpn_results_list, batch_data_samples)

    def mask_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        bbox_feats: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict:
        """Mask loss of the RoIs chosen by `mask_rois`; 0 with a gradient where there is none."""
        chosen = self.mask_rois(sampling_results)
        rois = bbox2roi([res.pos_priors for res in sampling_results])[chosen]
        logits = self._mask_forward(x, rois)["mask_preds"]
        targets = self.mask_targets(sampling_results, batch_gt_instances, chosen, self.train_cfg.mask_size)
        return dict(loss_mask=self.gated_mask_loss(logits, targets))

    def gated_mask_loss(self, logits: Tensor, targets: Tensor) -> dict:
        """Mean binary cross-entropy of logits (M, 1, H, W) with targets (M, H, W); 0 with a gradient if M = 0."""
        if len(logits) == 0:
            return dict(loss_mask=logits.sum() * 0)
        channel = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return dict(loss_mask=self.mask_head.loss_mask(logits, targets, channel))

    def positives_of_base(self, sampling_results: list[SamplingResult]) -> Tensor:
        """(R,) bool: positive RoIs whose assigned object is of a base category."""
        return self.is_base[torch.cat([res.pos_gt_labels for res in sampling_results])]

    def mask_rois(self, sampling_results: list[SamplingResult]) -> Tensor:
        """(R,) bool: the RoIs in the mask loss (option `mask_rois`)."""
        chosen = self.positives_of_base(sampling_results)
        if self.options.mask_rois == "gt":
            chosen = chosen & torch.cat([res.pos_is_gt for res in sampling_results]).bool()
        return chosen

    @classmethod
    def mask_targets(
        cls, sampling_results: list[SamplingResult], batch_gt_instances: InstanceList, chosen: Tensor, size: int
    ) -> Tensor:
        """Masks (M, size, size) in {0, 1} of the objects assigned to the M chosen RoIs, cropped to the RoIs."""
        return cls.positive_masks(sampling_results, batch_gt_instances, size)[chosen].float()

    @staticmethod
    def positive_masks(sampling_results: list[SamplingResult], batch_gt_instances: InstanceList, size: int) -> Tensor:
        """Masks (R, size, size) bool of the objects assigned to the positive RoIs, cropped to the RoIs."""
        return torch.cat(
            [
                crop_masks(instances.masks, res.pos_priors, res.pos_assigned_gt_inds, size)
                for res, instances in zip(sampling_results, batch_gt_instances, strict=True)
            ]
        )

    def predict_mask(
        self,
        x: tuple[Tensor],
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

    def detection_logits(self, x: tuple[Tensor], rois: Tensor, results_list: InstanceList) -> Tensor:
        """Mask logits (R, 1, H, W) of the detections, whose boxes are `rois` (R, 5)."""
        return self._mask_forward(x, rois)["mask_preds"]

    def predict_masks_in_boxes(
        self, x: tuple[Tensor], batch_img_metas: list[dict], boxes: list[Tensor], labels: list[Tensor]
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
