"""The class activation map (CAM) of a RoI: where the box head sees the RoI's class.

Shapes: R RoIs, C channels, K classes, h x w the box head's map (7 x 7), H x W the map's size where it is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

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
