"""What a mask branch trains on: RoIs, and the masks of their objects.

Shapes: R positive RoIs of the batch, in mmdet's order (image by image); M of them pass through the mask branch.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from mmcv.ops import roi_align
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor


@dataclass(frozen=True)
class MaskRoIs:
    """An image's RoIs of the mask branch in training, each with its object; fields as in mmdet's SamplingResult."""

    pos_priors: Tensor
    """(R, 4), in pixels of the network's input."""
    pos_assigned_gt_inds: Tensor
    """(R,), rows of the image's ground truth."""
    pos_gt_labels: Tensor
    """(R,)"""

    @classmethod
    def of_objects(cls, truth: InstanceData) -> "MaskRoIs":
        """An image's objects in their own boxes."""
        return cls(truth.bboxes, torch.arange(len(truth), device=truth.labels.device), truth.labels)


@dataclass(frozen=True)
class MaskBatch:
    """What a mask branch trains on: the R positive RoIs of a batch, of which it sees M and learns from B masks."""

    results: list[Any]
    """Of each image: mmdet's SamplingResult, which also holds the negatives, or MaskRoIs."""
    ground_truth: InstanceList
    seen: Tensor
    """(R,) bool: the M RoIs that pass through the mask branch."""
    learnt: Tensor
    """(R,) bool: those B of them whose masks are learnt from."""
    box_outputs: dict[str, Tensor] = field(default_factory=dict)
    """What `_bbox_forward` returned for all sampled RoIs."""
    colours: Tensor | None = None
    """(N, 3, H, W): the images in L*a*b*, where a loss needs them, see `ColourPreprocessor`."""
    _masks: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def object_boxes(self) -> Tensor:
        """(R, 4): the boxes of the positives' objects."""
        pairs = zip(self.results, self.ground_truth, strict=True)
        return torch.cat([truth.bboxes[res.pos_assigned_gt_inds] for res, truth in pairs])

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
        """(M,): places of the seen RoIs among the positives."""
        return self.seen.nonzero()[:, 0]

    @cached_property
    def base(self) -> Tensor | slice:
        """Places (B,) among the seen RoIs of those whose masks are learnt from."""
        return slice(None) if self.seen is self.learnt else self.learnt[self.rows].nonzero()[:, 0]

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
                [crop_masks(truth.masks, res.pos_priors, res.pos_assigned_gt_inds, size) for res, truth in pairs]
            )
        return self._masks[size]

    def targets(self, size: int) -> Tensor:
        """Masks (B, size, size) in {0, 1} of the RoIs whose masks are learnt from."""
        return self.masks(size)[self.rows][self.base].float()


def crop_masks(masks: Tensor | BitmapMasks | PolygonMasks, boxes: Tensor, objects: Tensor, size: int) -> Tensor:
    """Each box's object, cropped to the box and resized: (R, size, size) bool, on the boxes' device.

    The pixels of mmdet's BitmapMasks.crop_and_resize, which takes boxes and masks over the CPU and makes a copy of the
    whole image's mask for each box; here an object's mask is on the device once.

    Args:
        masks: N objects in an image of H x W pixels; a tensor (N, H, W), as `MaskPreprocessor` gives it, or mmdet's.
        boxes: (R, 4), in pixels.
        objects: (R,), the row of `masks` for each box.
        size: of the result, in pixels.
    """
    if len(boxes) == 0:
        return boxes.new_zeros((0, size, size), dtype=torch.bool)
    if isinstance(masks, PolygonMasks):  # drawn anew in each crop
        corners, rows = boxes.detach().cpu().numpy(), objects.cpu().numpy()
        return masks.crop_and_resize(corners, (size, size), rows).to_tensor(torch.bool, boxes.device)
    maps = torch.from_numpy(masks.masks) if isinstance(masks, BitmapMasks) else masks
    maps = maps.to(boxes.device).to(boxes.dtype)[:, None]
    rois = torch.cat([objects[:, None].to(boxes.dtype), boxes], dim=1)
    return roi_align(maps, rois, (size, size), 1.0, 0, "avg", True)[:, 0] >= 0.5
