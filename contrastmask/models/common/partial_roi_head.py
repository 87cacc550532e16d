"""The RoI head of every system here: masks are learnt from base categories only.

Shapes: R positive RoIs of the batch, in mmdet's order (image by image); M of them pass through the mask branch.
"""

from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.model import normal_init
from mmengine.structures import InstanceData
from torch import Tensor

from contrastmask.config.options import BaselineOptions, SystemOptions
from contrastmask.models.common.box_losses import box_targets, pairwise_loss, projection_loss
from contrastmask.models.common.mask_batch import MaskBatch

#: The pairwise loss has its full weight after a ninth of the training: BoxInst's 10,000 of 90,000 iterations.
WARM_UP = 9


@MODELS.register_module()
class PartialRoIHead(StandardRoIHead):
    """Mask R-CNN's RoI head with a class-agnostic mask head whose loss sees RoIs of base categories only.

    A system says in `train_masks` how its mask branch segments RoIs in training and which losses it has beside the
    mask loss, in `detection_logits` how it does at test. Where `sees_novel`, RoIs of novel categories pass through the
    mask branch too, for its BatchNorm; no mask loss sees them.

    Args:
        base_labels: labels (0 .. K - 1) of the base categories.
        num_classes: K.
        options: values of `BaselineOptions` (or the method's own class, `options_class`).
        kwargs: as mmdet's StandardRoIHead.
    """

    options_class: type[SystemOptions] = BaselineOptions
    options: Any  # of that class
    sees_novel = False

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
        batch = self.mask_batch(results, batch_data_samples, outputs)
        return outputs["loss_bbox"] | self.mask_losses(x, batch)

    def sample(
        self, proposals: InstanceList, ground_truth: InstanceList, ignored: InstanceList
    ) -> list[SamplingResult]:
        """mmdet's assignment and sampling of each image's proposals.

        Where `train_cfg.shared_proposals` says so, only the best of some images' proposals together take part.
        """
        if shared := self.train_cfg.get("shared_proposals"):
            proposals = best_proposals(proposals, **shared)
        results = []
        for found, truth, ignore in zip(proposals, ground_truth, ignored, strict=True):
            found.priors = found.pop("bboxes")
            assigned = self.bbox_assigner.assign(found, truth, ignore)
            results.append(self.bbox_sampler.sample(assigned, found, truth))
        return results

    def mask_batch(self, results: list, samples: list[DetDataSample], outputs: dict | None = None) -> MaskBatch:
        """What the mask branch trains on, of each image's positive RoIs."""
        kind, colours, seen = self.options.box_losses, None, self.mask_rois(results)
        learnt = seen
        if self.sees_novel or kind != "none":
            seen = self.candidates(results)
        if kind in ("pairwise", "both"):
            colours = torch.stack([sample.colours for sample in samples])
        return MaskBatch(results, [s.gt_instances for s in samples], seen, learnt, outputs or {}, colours)

    def mask_losses(self, x: tuple[Tensor, ...], batch: MaskBatch) -> dict[str, Tensor]:
        """`loss_mask` of the RoIs chosen by `mask_rois`, the system's own losses, and box losses of novel RoIs; nothing
        without a mask branch."""
        if not self.with_mask:
            return {}
        logits, losses = self.train_masks(x, batch)
        targets = self.mask_targets(batch, self.train_cfg.mask_size)
        losses = {"loss_mask": self.mask_cross_entropy(logits[batch.base], targets)} | losses
        return losses | self.novel_losses(logits, batch)

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mask logits (M, 1, H, W) of a batch's RoIs, and losses beside the mask loss."""
        return self._mask_forward(x, batch.rois)["mask_preds"], {}

    def _mask_features(self, x: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """X, what the mask branch sees of FPN features in RoIs (R, 5): (R, C, H, W)."""
        return self.mask_roi_extractor(x[: self.mask_roi_extractor.num_inputs], rois)

    def mask_targets(self, batch: MaskBatch, size: int) -> Tensor:
        """(B, size, size) in [0, 1]."""
        return batch.targets(size)

    def mask_cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean binary cross-entropy of logits (M, 1, H, W) with targets (M, H, W); 0 with a gradient if M = 0."""
        if len(logits) == 0:
            return logits.sum() * 0
        channel = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return self.mask_head.loss_mask(logits, targets, channel)

    def novel_losses(self, logits: Tensor, batch: MaskBatch) -> dict[str, Tensor]:
        """Box losses (option `box_losses`) of the seen RoIs whose masks are not learnt from; logits (M, 1, H, W)."""
        kind = self.options.box_losses
        if kind == "none":
            return {}
        novel = (~batch.learnt[batch.rows]).nonzero()[:, 0]
        rois, logits = batch.rois[novel], logits[novel, 0].float()
        inside = box_targets(batch.object_boxes[batch.rows][novel], rois[:, 1:], logits.shape[1])
        losses = {}
        if kind in ("projection", "both"):
            losses["loss_projection"] = projection_loss(logits, inside)
        if kind in ("pairwise", "both"):
            colours = roi_align(batch.colours, rois, logits.shape[1:], 1.0, 0, "avg", True)
            losses["loss_pairwise"] = pairwise_loss(logits, inside, colours) * min(self.progress * WARM_UP, 1.0)
        return losses

    def positives_of_base(self, results: list[Any]) -> Tensor:
        """(R,) bool: positive RoIs whose assigned object is of a base category."""
        return self.is_base[torch.cat([res.pos_gt_labels for res in results])]

    def candidates(self, results: list[Any]) -> Tensor:
        """(R,) bool: the RoIs of all categories that option `mask_rois` lets take part."""
        if self.options.mask_rois == "gt":
            return torch.cat([res.pos_is_gt for res in results]).bool()
        return torch.ones_like(self.positives_of_base(results))

    def mask_rois(self, results: list[Any]) -> Tensor:
        """(R,) bool: the RoIs in the mask loss."""
        return self.candidates(results) & self.positives_of_base(results)

    def predict_mask(
        self, x: tuple[Tensor, ...], batch_img_metas: list[dict], results_list: InstanceList, rescale: bool = False
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


def best_proposals(proposals: InstanceList, images: int, number: int) -> InstanceList:
    """The proposals with the `number` best scores of each `images` neighbouring images together.

    What a GPU with two images does in Detectron and maskrcnn-benchmark.
    """
    kept: InstanceList = []
    for first in range(0, len(proposals), images):
        group = proposals[first : first + images]
        scores = torch.cat([found.scores for found in group])
        least = scores.topk(min(number, len(scores))).values[-1:]
        kept += [found[found.scores >= least] if len(least) else found for found in group]
    return kept


@MODELS.register_module()
class GaussianMaskHead(FCNMaskHead):
    """mmdet's, whose last layer starts with a standard deviation of 0.001: by fan-out, one channel would diverge."""

    def init_weights(self) -> None:
        """MSRA, and Gaussian for the last layer."""
        super().init_weights()
        normal_init(self.conv_logits, std=0.001)
