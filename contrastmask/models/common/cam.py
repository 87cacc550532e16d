"""The class activation map (CAM): where the box head sees a RoI's class, and the RoI head whose mask head sees that.

Shapes: R RoIs (positives of the batch in training, detections at test), C channels, K classes, h x w the box head's map
(7 x 7), H x W the map's size where it is used.
"""

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from contrastmask.config.options import CAMOptions, SystemOptions
from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.common.partial_roi_head import PartialRoIHead

EPS = 1e-6  # keeps a constant map at 0 instead of the released code's 0/0


def class_activation_map(features: Tensor, class_weights: Tensor, labels: Tensor) -> Tensor:
    """Sum of the features weighted by the classifier's weights of each RoI's class.

    The weights are detached, the features are not (released code; OPMask alike). The classifier's bias is left out: it
    is constant over a RoI and the min-max normalisation removes it.

    Args:
        features: (R, C, h, w), the last map before average pooling and the classifier.
        class_weights: (K + 1, C), the classifier's weight; the background's row is last and never selected.
        labels: (R,), class of each RoI: the ground truth's in training, the predicted one at test.

    Returns:
        (R, h, w), not normalised.
    """
    return torch.einsum("rchw,rc->rhw", features, class_weights.detach()[labels])


def min_max(maps: Tensor) -> Tensor:
    """Scale each map (R, h, w) to [0, 1]; a constant map becomes 0."""
    low = maps.amin(dim=(1, 2), keepdim=True)
    high = maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + EPS)


def resize(maps: Tensor, size: int) -> Tensor:
    """Bilinear resize of (R, h, w) to (R, size, size)."""
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def activation_prior(maps: Tensor, size: int, cam_norm: str) -> Tensor:
    """A in [0, 1], (R, size, size), from raw maps (R, h, w), in the order that option `cam_norm` names."""
    if cam_norm == "resize_first":
        return min_max(resize(maps, size))
    return resize(min_max(maps), size)


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
