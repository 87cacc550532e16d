"""Mask losses that need an object's box and the image's colours only, for RoIs whose masks are unknown.

BoxInst (Tian et al., CVPR 2021, https://arxiv.org/abs/2012.02310) defines both on the whole image; mmdet's
BoxInstMaskHead does so. Here they are taken on the pixels of a RoI. Shapes: N RoIs, S pixels a side, 8 neighbours.
"""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from contrastmask.models.common.in_place import MaskPreprocessor

DILATION = 2  # pixels to a neighbour
ALIKE = 0.3  # least colour similarity of a pair that is to get one label
EPS = 5e-6  # in both parts of the Dice loss's denominator, as in mmdet


def box_targets(boxes: Tensor, rois: Tensor, size: int) -> Tensor:
    """1 where a pixel of the RoI has its centre in the box, 0 elsewhere: (N, size, size) of boxes and RoIs (N, 4)."""
    sides = []
    for first in (0, 1):
        centres = (torch.arange(size, device=rois.device) + 0.5) / size
        places = rois[:, first, None] + centres * (rois[:, first + 2] - rois[:, first])[:, None]
        sides.append((places >= boxes[:, first, None]) & (places <= boxes[:, first + 2, None]))
    return (sides[1][:, :, None] & sides[0][:, None]).float()


def projection_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """Dice losses of the mask's and the box's projections onto both axes, summed; mean over RoIs, 0 without.

    Args:
        logits: (N, S, S).
        inside: (N, S, S) in {0, 1}, the box.
    """
    if len(logits) == 0:
        return logits.sum() * 0
    losses = [dice_loss(logits.amax(axis).sigmoid(), inside.amax(axis)) for axis in (1, 2)]
    return (losses[0] + losses[1]).mean()


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """(N,) of (N, P) each, with squares in the denominator."""
    overlap = (probabilities * targets).sum(1)
    return 1 - 2 * overlap / ((probabilities**2).sum(1) + (targets**2).sum(1) + 2 * EPS)


def pairwise_loss(logits: Tensor, inside: Tensor, colours: Tensor) -> Tensor:
    """Mean of -log P(a pixel and its neighbour get one label) over pairs of like colour from pixels in the box.

    Args:
        logits: (N, S, S).
        inside: (N, S, S) in {0, 1}, the box.
        colours: (N, 3, S, S), L*a*b*.
    """
    pairs = (colour_similarity(colours) >= ALIKE) * inside[:, None]
    foreground, background = F.logsigmoid(logits)[:, None], F.logsigmoid(-logits)[:, None]
    same = torch.logaddexp(foreground + neighbours(foreground), background + neighbours(background))
    return -(same * pairs).sum() / pairs.sum().clamp(min=1)


def colour_similarity(colours: Tensor) -> Tensor:
    """exp(-|difference| / 2) of each pixel's colour (N, 3, S, S) and its neighbours', (N, 8, S, S); 0 off the map."""
    difference = torch.stack([colours[:, c, None] - neighbours(colours[:, c, None]) for c in range(3)])
    there = neighbours(torch.ones_like(colours[:, :1]))
    return torch.exp(-torch.linalg.vector_norm(difference, dim=0) / 2) * there


def neighbours(maps: Tensor) -> Tensor:
    """The 8 pixels around each of (N, 1, S, S) at DILATION, (N, 8, S, S); 0 off the map."""
    around = F.unfold(maps, 3, dilation=DILATION, padding=DILATION).view(len(maps), 9, *maps.shape[2:])
    return torch.cat([around[:, :4], around[:, 5:]], dim=1)


# ---------------------------------------------------------------------------- colours


@MODELS.register_module()
class ColourPreprocessor(MaskPreprocessor):
    """mmdet's, which in training gives each sample its image's `colours` (3, H, W) in L*a*b*, padded as the batch."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """As mmdet's."""
        data = super().forward(data, training)
        if training:
            images = data["inputs"] * self.std + self.mean
            for sample, image in zip(data["data_samples"], images, strict=True):
                sample.colours = lab(image / 255)
        return data


def lab(rgb: Tensor) -> Tensor:
    """CIE L*a*b* (D65) of sRGB in [0, 1]; (3, H, W) each."""
    rgb = rgb.float().clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = linear.new_tensor(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    xyz = torch.einsum("ij,jhw->ihw", to_xyz, linear) / to_xyz.sum(1)[:, None, None]  # in units of white
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
