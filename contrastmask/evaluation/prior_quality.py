"""How good the class activation map is as a prior, and what the CL head makes of it: readings, not training.

Shapes: R RoIs of H x W pixels, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.contrastmask.contrast import products, similarities
from contrastmask.models.contrastmask.keys import Partition


def right_pixels(regions: Partition, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels of I+, those of them on the object, pixels of I-, those of them off it: (R,) each.

    Args:
        regions: I+ and I-, (R, H, W) bool each.
        masks: true masks (R, H, W) bool.
    """
    foreground, background = regions
    sets = (foreground, foreground & masks, background, background & ~masks)
    return tuple(s.sum(dim=(1, 2)) for s in sets)  # type: ignore[return-value]


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (R,) of boolean maps (R, H, W); 1 where both are empty."""
    union = (a | b).sum(dim=(1, 2))
    return torch.where(union == 0, 1.0, (a & b).sum(dim=(1, 2)) / union.clamp(min=1))


def separation(features: Tensor, masks: Tensor) -> Tensor:
    """Cosine (R,) of the mean feature on the object and off it: 1 where features do not tell them apart.

    NaN for a RoI that the object fills or misses.

    Args:
        features: (R, C, H, W).
        masks: (R, H', W') bool, of the features' size or not: `official` has maps of 28 pixels and, without the
            contrastive head, features of 14.
    """
    if masks.shape[1:] != features.shape[2:]:
        masks = F.interpolate(masks[:, None].float(), features.shape[2:], mode="area")[:, 0] >= 0.5
    flat, on = features.flatten(2), masks.flatten(1)[:, None]
    inside, outside = ((flat * part).sum(-1) / part.sum(-1) for part in (on, ~on))
    return F.cosine_similarity(inside, outside, dim=1)


def prototype_masks(projected: Tensor, regions: Partition, options: ContrastMaskOptions) -> Tensor | None:
    """Pixels (R, H, W) that are more like the foreground's query than like the background's (Eq. 2).

    What the contrastive loss has learned, without the mask head. None if no RoI has both regions.

    Args:
        projected: Z, (R, P, C), of the RoIs that share a query pair.
        regions: I+ and I-, (R, H, W) each, as in training.
        options: `similarity`.
    """
    sides = torch.stack([region.flatten(1) for region in regions], dim=1)
    rois = sides.any(-1).all(1)
    if not rois.any():
        return None
    on, off = similarities(*products(projected, sides, rois.expand(len(rois), -1)), options.similarity).unbind(1)
    return (on > off).view_as(regions.foreground)
