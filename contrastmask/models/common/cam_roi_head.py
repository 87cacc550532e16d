"""A RoI head whose mask head also sees the class activation map: what ContrastMask and OPMask share.

Shapes: R positive RoIs of the batch (training) or detections (test), C channels.
"""

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from contrastmask.config.options import CAMOptions, SystemOptions
from contrastmask.models.common.cam import activation_prior
from contrastmask.models.common.partial_roi_head import MaskBatch, PartialRoIHead


class CAMRoIHead(PartialRoIHead):
    """Hands the map A of each RoI's class, from a `CAMBoxHead`, to a `PriorMaskHead`.

    The class is the ground truth's in training and the predicted one at test.
    """

    options_class: type[SystemOptions] = CAMOptions
    options: CAMOptions

    def __init__(self, *, mask_roi_extractor: dict, **kwargs) -> None:
        super().__init__(mask_roi_extractor=mask_roi_extractor, **kwargs)
        self.mask_size = mask_roi_extractor["roi_layer"]["output_size"]

    def train_masks(self, x: tuple[Tensor, ...], batch: MaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits with the map of each RoI's ground-truth class."""
        return self._mask_logits(x, batch.rois, self._raw_cam(batch)[batch.rows]), {}

    def detection_logits(self, x: tuple[Tensor, ...], rois: Tensor, results_list: InstanceList) -> Tensor:
        """The CAM is that of the box which option `cam_box` names, for the detected class.

        Given boxes (`predict_masks_in_boxes`) come from no proposal: theirs is their own CAM.
        """
        seen = bbox2roi([results.pop("proposals", results.bboxes) for results in results_list])
        boxes = rois if self.options.cam_box == "refined" else seen
        class_map = self._bbox_forward(x, boxes)["class_map"]
        raw_cam = self.bbox_head.activation(class_map, torch.cat([r.labels for r in results_list]))
        return self._mask_logits(x, rois, raw_cam)

    def _bbox_forward(self, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        """mmdet's, with the class branch's last map (S, C, h, w) of the S RoIs as `class_map`."""
        features = self.bbox_roi_extractor(x[: self.bbox_roi_extractor.num_inputs], rois)
        scores, deltas, class_map = self.bbox_head.forward_with_map(features)
        return dict(cls_score=scores, bbox_pred=deltas, bbox_feats=features, class_map=class_map)

    def _raw_cam(self, batch: MaskBatch) -> Tensor:
        """Raw maps (R, h, w) of the positives, from the class branch's maps of all sampled RoIs."""
        class_map = batch.box_outputs["class_map"][positive_rows(batch.results)]
        return self.bbox_head.activation(class_map, batch.positive_labels)

    def _mask_logits(self, x: tuple[Tensor, ...], rois: Tensor, raw_cam: Tensor) -> Tensor:
        """Logits (R, 1, 28, 28) from X and A."""
        return self.mask_head(self._mask_features(x, rois), prior=self._prior(raw_cam))

    def _mask_features(self, x: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        """X: (R, C, 14, 14)."""
        return self.mask_roi_extractor(x[: self.mask_roi_extractor.num_inputs], rois)

    def _prior(self, raw_cam: Tensor) -> Tensor:
        """A (R, 14, 14) in [0, 1] of raw maps (R, h, w)."""
        raw_cam = raw_cam.detach() if self.options.detach_cam else raw_cam
        return activation_prior(raw_cam, self.mask_size, self.options.cam_norm)


def positive_rows(sampling_results: list[SamplingResult]) -> Tensor:
    """Rows of the positive RoIs among all sampled ones, which lie image by image, positives first.

    Counts are taken from the results: an image may yield fewer than the sampler's number.
    """
    rows, start = [], 0
    for res in sampling_results:
        rows.append(torch.arange(start, start + len(res.pos_priors), device=res.pos_priors.device))
        start += len(res.priors)
    return torch.cat(rows)
