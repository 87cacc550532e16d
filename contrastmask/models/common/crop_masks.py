"""Masks of boxes, cropped from those of the objects in an image."""

import torch
from mmcv.ops import roi_align
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor


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
