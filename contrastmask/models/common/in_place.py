"""What is built in the place of some of mmdet's classes: the same results in fewer steps, and a GPU seldom waits.

Shapes: B images, N anchors of all levels, S sampled anchors of an image, R RoIs, G objects.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import box_iou

#: mmdet's classes: what is built in their place. Configurations name mmdet's, whose results these have.
IN_PLACE = {
    "DetDataPreprocessor": "MaskPreprocessor",
    "MaxIoUAssigner": "VectorMaxIoUAssigner",
    "RPNHead": "BatchRPNHead",
    "SingleRoIExtractor": "SortingRoIExtractor",
}


def put_in_place(config: Any) -> Any:
    """The configuration with IN_PLACE's classes."""
    if isinstance(config, list | tuple):
        return type(config)(put_in_place(item) for item in config)
    if not isinstance(config, dict):
        return config
    found = {key: put_in_place(value) for key, value in config.items()}
    return found | {"type": IN_PLACE.get(found["type"], found["type"])} if "type" in found else found


@TASK_UTILS.register_module()
class VectorMaxIoUAssigner(MaxIoUAssigner):
    """mmdet's results to the bit. There a GPU waits for the CPU at each object and at each set of boxes, here never."""

    def assign_wrt_overlaps(self, overlaps: Tensor, gt_labels: Tensor) -> AssignResult:
        """mmdet's, of overlaps (G, N) of G objects and N boxes."""
        if 0 in overlaps.shape:
            return super().assign_wrt_overlaps(overlaps, gt_labels)
        best, _ = overlaps.max(dim=0)
        assigned = self.rows(overlaps)
        labels = torch.where(assigned > 0, gt_labels[(assigned - 1).clamp(min=0)], -1)
        return AssignResult(num_gts=len(overlaps), gt_inds=assigned, max_overlaps=best, labels=labels)

    def rows(self, overlaps: Tensor) -> Tensor:
        """For each box (N,): 1 + the row of its object in overlaps (G, N), 0 for background, -1 for neither."""
        low, high = self.neg_iou_thr if isinstance(self.neg_iou_thr, tuple) else (0, self.neg_iou_thr)
        best, row = overlaps.max(dim=0)
        assigned = torch.where((best >= low) & (best < high), 0, -1)
        assigned = torch.where(best >= self.pos_iou_thr, row + 1, assigned)
        if not self.match_low_quality:
            return assigned
        # an object also takes the boxes closest to it; of several such objects the last
        closest, box = overlaps.max(dim=1, keepdim=True)
        taken = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(1, box, True)
        if self.gt_max_assign_all:
            taken = overlaps == closest
        numbers = torch.arange(1, len(overlaps) + 1, device=overlaps.device, dtype=torch.int32)[:, None]
        last = (taken & (closest >= self.min_pos_iou)).mul(numbers).amax(dim=0)
        return torch.where(last > 0, last, assigned)


@MODELS.register_module()
class MaskPreprocessor(DetDataPreprocessor):
    """Bitmaps become (N, H, W) bytes on the device, once a step, and are padded there.

    mmdet pads them on the CPU, copying each twice, and leaves them there.
    """

    def pad_gt_masks(self, batch_data_samples: list[DetDataSample]) -> None:
        """Pad the masks to the batch's shape; polygons stay mmdet's."""
        for sample in batch_data_samples:
            truth, shape = sample.gt_instances, sample.batch_input_shape
            masks = truth.get("masks")
            if isinstance(masks, BitmapMasks):
                maps = torch.from_numpy(masks.masks).to(self.device)
                truth.masks = F.pad(maps, (0, shape[1] - masks.width, 0, shape[0] - masks.height))
            elif masks is not None:
                truth.masks = masks.pad(shape, pad_val=self.mask_pad_value)


@MODELS.register_module()
class SortingRoIExtractor(SingleRoIExtractor):
    """mmdet's results to the bit. RoIs are sorted by level, so that one copy of the counts tells where to cut."""

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """RoI features (R, C, h, w) of pyramid levels and RoIs (R, 5)."""
        if len(rois) == 0 or len(feats) == 1:
            return super().forward(feats, rois, roi_scale_factor)
        rois = rois.type_as(feats[0])
        levels = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        order = levels.argsort(stable=True)
        counts = (levels[:, None] == torch.arange(len(feats), device=rois.device)).sum(0).tolist()
        parts = rois[order].split(counts)
        found = [layer(x, part) for layer, x, part in zip(self.roi_layers, feats, parts, strict=False) if len(part)]
        features = torch.cat(found)[order.argsort()]
        # levels without a RoI stay in the graph, for processes that average their gradients
        for x, count in zip(feats, counts, strict=True):
            features = features if count else features + x.sum() * 0
        return features


@MODELS.register_module()
class BatchRPNHead(RPNHead):
    """mmdet's proposals to the bit, and its losses up to the order of sums, for the anchors sampled.

    Sampled anchors are those with the smallest of random numbers drawn for all anchors, so no shape depends on how many
    are positive and a GPU never waits in the loss. mmdet draws as many at random, by other random numbers.
    """

    _of_sizes: tuple[Any, ...] = (None, None, None)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: InstanceList | None = None,
    ) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_bbox`, over all levels."""
        logits, deltas = (flat(maps, size) for maps, size in ((cls_scores, 1), (bbox_preds, 4)))
        sizes = [s.shape[-2:] for s in cls_scores]
        anchors = torch.cat(self._anchors(sizes, logits.device))
        with torch.no_grad():
            valid = {
                shape: torch.cat(self.prior_generator.valid_flags(sizes, shape, logits.device))
                for shape in {tuple(meta["pad_shape"]) for meta in batch_img_metas}
            }
            found = [
                self._assign(anchors, valid[tuple(meta["pad_shape"])], truth, meta)
                for truth, meta in zip(batch_gt_instances, batch_img_metas, strict=True)
            ]
            assigned, boxes = (torch.stack(values) for values in zip(*found, strict=True))
            positive, is_positive, negative, is_negative = self._sample(assigned)
            targets = self.bbox_coder.encode(
                anchors[positive].flatten(0, 1), boxes.gather(1, as_rows(positive, 4)).flatten(0, 1)
            )
            # mmdet's divisor: at least one positive and one negative of each image
            number = sum(there.sum(1).clamp(min=1).sum() for there in (is_positive, is_negative))
        sampled = logits[..., 0].gather(1, torch.cat([positive, negative], dim=1))
        is_object = torch.cat([is_positive, torch.zeros_like(is_negative)], dim=1).to(sampled.dtype)
        loss = F.binary_cross_entropy_with_logits(sampled, is_object, reduction="none")
        loss = (loss * torch.cat([is_positive, is_negative], dim=1)).sum() * self.loss_cls.loss_weight
        guesses = deltas.gather(1, as_rows(positive, 4)).flatten(0, 1)
        of_box = self.loss_bbox(guesses, targets, reduction_override="none") * is_positive.flatten()[:, None]
        return dict(loss_rpn_cls=loss / number, loss_rpn_bbox=of_box.sum() / number)

    def _anchors(self, sizes: list[torch.Size], device: torch.device) -> list[Tensor]:
        """Anchors (n, 4) of each level; those of the last sizes are kept, for the proposals after the losses."""
        if self._of_sizes[:2] != (sizes, device):
            self._of_sizes = sizes, device, self.prior_generator.grid_priors(sizes, device=device)
        return self._of_sizes[2]

    def _assign(self, anchors: Tensor, valid: Tensor, truth: InstanceData, meta: dict) -> tuple[Tensor, Tensor]:
        """For each anchor of an image, (N,) 1 for an object, 0 for background, -1 for neither, and its box (N, 4).

        Anchors outside the image are neither, nor those that are not `valid` (N,). An anchor without an object has its
        own box, to which nothing is added.
        """
        valid = anchor_inside_flags(anchors, valid, meta["img_shape"][:2], self.train_cfg["allowed_border"])
        if len(truth) == 0:
            return torch.where(valid, 0, -1), anchors
        overlaps = box_iou(truth.bboxes, anchors).masked_fill(~valid, -1)
        rows = self.assigner.rows(overlaps).where(valid, -1)
        boxes = truth.bboxes[(rows - 1).clamp(min=0)]
        return rows.clamp(max=1), torch.where(rows[:, None] > 0, boxes, anchors)

    def _sample(self, assigned: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of anchors (B, N): columns of positives and whether each is one, (B, S+), the same of negatives (B, S-)."""
        number = min(self.sampler.num, assigned.shape[1])
        scores = torch.rand(assigned.shape, device=assigned.device)
        most = min(int(self.sampler.num * self.sampler.pos_fraction), number)
        first, positive = scores.masked_fill(assigned != 1, 2.0).topk(most, dim=1, largest=False)
        is_positive = first < 2
        first, negative = scores.masked_fill(assigned != 0, 2.0).topk(number, dim=1, largest=False)
        left = self.sampler.num - is_positive.sum(1, keepdim=True)
        is_negative = (first < 2) & (torch.arange(number, device=assigned.device) < left)
        return positive, is_positive, negative, is_negative

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceList:
        """mmdet's; suppression alone is done image by image."""
        cfg = self.test_cfg if cfg is None else cfg
        assert batch_img_metas is not None
        anchors = self._anchors([s.shape[-2:] for s in cls_scores], cls_scores[0].device)
        levels = []
        for logits, deltas, priors in zip(cls_scores, bbox_preds, anchors, strict=True):
            scores, deltas = flat([logits.detach()], 1)[..., 0].sigmoid(), flat([deltas.detach()], 4)
            priors = priors.expand(len(scores), -1, -1)
            if len(priors[0]) > cfg.nms_pre:
                scores, order = (t[:, : cfg.nms_pre] for t in scores.sort(dim=1, descending=True))
                deltas, priors = (t.gather(1, as_rows(order, 4)) for t in (deltas, priors))
            levels.append((scores, deltas, priors))
        scores, deltas, priors = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
        number = torch.arange(len(levels), device=scores.device)
        level_ids = torch.cat([n.expand(s.shape[1]) for n, (s, _, _) in zip(number, levels, strict=True)])
        boxes = self.bbox_coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1)).view_as(priors)
        sides = boxes.new_tensor([meta["img_shape"][1::-1] * 2 for meta in batch_img_metas])
        boxes = torch.minimum(boxes.clamp(min=0), sides[:, None])
        return [
            self._bbox_post_process(
                InstanceData(bboxes=b, scores=s, level_ids=level_ids), cfg, rescale, with_nms, img_meta=meta
            )
            for b, s, meta in zip(boxes, scores, batch_img_metas, strict=True)
        ]


def flat(maps: list[Tensor], size: int) -> Tensor:
    """Maps (B, A size, H, W) of all levels as (B, N, size), in the order of the anchors."""
    return torch.cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, size) for level in maps], dim=1)


def as_rows(index: Tensor, size: int) -> Tensor:
    """Index (B, S) of rows, to gather rows of `size`."""
    return index[..., None].expand(-1, -1, size)
