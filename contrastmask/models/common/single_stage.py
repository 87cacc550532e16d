"""A single-stage detector with a class-agnostic mask branch on RoIs: what ShapeMask and CPMask share.

The dense head finds boxes; the mask branch is a RoI head without box head. It trains on RoIs made from ground-truth
boxes (and, where a system wants them, from the dense head's detections) and segments the final detections at test.
Shapes: R RoIs of the batch, image by image.
"""

from typing import Any

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import InstanceList
from mmengine.config import ConfigDict
from torch import Tensor

from contrastmask.config.options import SingleStageOptions
from contrastmask.models.common.mask_batch import MaskRoIs
from contrastmask.models.common.partial_roi_head import PartialRoIHead


@MODELS.register_module()
class SingleStageMaskDetector(SingleStageDetector):
    """Backbone, neck, dense head (`bbox_head`) and a mask branch (`roi_head`, a `MaskBranch`).

    Args:
        train_cfg: `dense` for the dense head, `rcnn` for the mask branch; `detections`, if any, is how the dense head's
            detections are selected (as mmdet's test_cfg) that the mask branch trains on beside the ground truth.
        test_cfg: `rpn.nms_pre`, the candidates of each level before NMS; `rcnn`, score threshold, NMS, number of
            detections and mask threshold: the same keys as in the two-stage systems, so that a scale or a recipe sets
            them once for all.
        kwargs: as mmdet's SingleStageDetector.
    """

    def __init__(self, *, roi_head: dict, train_cfg: ConfigDict, test_cfg: ConfigDict, **kwargs: Any) -> None:
        detections = ConfigDict(test_cfg.rcnn, nms_pre=test_cfg.rpn.nms_pre, min_bbox_size=0)
        super().__init__(train_cfg=train_cfg.dense, test_cfg=detections, **kwargs)
        self.detections_cfg = train_cfg.get("detections")
        self.roi_head = MODELS.build(ConfigDict(roi_head, train_cfg=train_cfg.rcnn, test_cfg=test_cfg.rcnn))

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """The dense head's losses and the mask branch's."""
        x = self.extract_feat(batch_inputs)
        ground_truth, ignored, metas = unpack_gt_instances(batch_data_samples)
        outputs = self._dense_outputs(x)
        losses = self.bbox_head.loss_by_feat(*outputs, ground_truth, metas, ignored)
        found = None
        if self.detections_cfg is not None:
            outputs = tuple([level.detach() for level in levels] for levels in outputs)  # a mask loss moves no box
            found = self.bbox_head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=self.detections_cfg)
        return losses | self.roi_head.loss(x, found, batch_data_samples)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Detections with masks."""
        x = self.extract_feat(batch_inputs)
        found = self.bbox_head.predict(x, batch_data_samples, rescale=False)
        results = self.roi_head.predict(x, found, batch_data_samples, rescale=rescale)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _dense_outputs(self, x: tuple[Tensor]) -> tuple[list[Tensor], ...]:
        """The dense head's outputs in fp32, whatever autocast made of them: anchors and points take their type."""
        return tuple([level.float() for level in levels] for levels in self.bbox_head(x))


class MaskBranch(PartialRoIHead):
    """A RoI head without box head, whose mask loss sees RoIs of base categories only.

    A system says which RoIs it trains on (`training_rois`) and how it segments them, in `train_masks` and
    `detection_logits`.
    """

    options_class = SingleStageOptions

    def init_assigner_sampler(self) -> None:
        """None: RoIs come from the ground truth."""

    def loss(
        self, x: tuple[Tensor, ...], detections: InstanceList | None, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """The mask branch's losses, on features in fp32 (see `PartialRoIHead.loss`)."""
        ground_truth = [sample.gt_instances for sample in batch_data_samples]
        rois = self.training_rois(ground_truth, detections)
        batch = self.mask_batch(rois, batch_data_samples)
        return self.mask_losses(tuple(level.float() for level in x), batch)

    def training_rois(self, ground_truth: InstanceList, detections: InstanceList | None) -> list[MaskRoIs]:
        """RoIs of each image; here the ground-truth boxes themselves."""
        return [MaskRoIs.of_objects(truth) for truth in ground_truth]

    def candidates(self, results: list[MaskRoIs]) -> Tensor:
        """(R,) bool: all RoIs."""
        return torch.ones_like(self.positives_of_base(results))

    def predict(
        self,
        x: tuple[Tensor, ...],
        detections: InstanceList,
        batch_data_samples: list[DetDataSample],
        rescale: bool = False,
    ) -> InstanceList:
        """The detections (boxes in pixels of the network's input) with masks."""
        return self.predict_mask(x, [sample.metainfo for sample in batch_data_samples], detections, rescale=rescale)
