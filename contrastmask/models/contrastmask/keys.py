"""Foreground and background of each RoI, and the keys drawn from them (Sec. 3.3).

Shapes: R RoIs of H x W pixels. All sets are boolean maps (R, H, W). Nothing loops over RoIs, and no shape depends on a
value: a GPU never has to wait for the CPU here.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions


class Partition(NamedTuple):
    """I+ and I-: the pixels taken for foreground and for background. Undecided pixels are in neither."""

    foreground: Tensor
    background: Tensor


@dataclass(frozen=True)
class KeySets:
    """The four key sets of Eq. 4: K+_E, K+_H, K-_E, K-_H."""

    fg_easy: Tensor
    fg_hard: Tensor
    bg_easy: Tensor
    bg_hard: Tensor

    def sets(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four sets, in the order of the fields."""
        return self.fg_easy, self.fg_hard, self.bg_easy, self.bg_hard

    def sample(self, sigma: float) -> "KeySets":
        """The operator § of Sec. 3.3 on each set, in one draw for all."""
        return KeySets(*sample(torch.cat(self.sets()), sigma).chunk(4))

    def only(self, rois: Tensor) -> "KeySets":
        """The sets of the RoIs in the boolean `rois` (R,); those of the others become empty."""
        kept = _pixels_of(rois, self.fg_easy)
        return KeySets(*(keys & kept for keys in self.sets()))


def boundary(masks: Tensor) -> Tensor:
    """Pixels where the gradient of masks (R, H, W) bool is not zero: both sides of their edges.

    The gradient is that of central differences, one-sided at the rim: a pixel's two neighbours differ.
    """
    rows = torch.cat([masks[:, :1], masks, masks[:, -1:]], dim=1)
    columns = torch.cat([masks[:, :, :1], masks, masks[:, :, -1:]], dim=2)
    return (rows[:, 2:] ^ rows[:, :-2]) | (columns[:, :, 2:] ^ columns[:, :, :-2])


def grow(sets: Tensor) -> Tensor:
    """The pixels at a squared distance <= 2 of each set (R, H, W): its 3 x 3 dilation, rows first."""
    wide = F.pad(sets, (1, 1, 1, 1))
    rows = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return rows[:, :, :-2] | rows[:, :, 1:-1] | rows[:, :, 2:]


def partition(masks: Tensor, is_base: Tensor, cam: Tensor, options: ContrastMaskOptions) -> Partition:
    """I+ and I- (Sec. 3.3): from the mask for base RoIs, from the CAM for novel ones.

    Args:
        masks: (R, H, W) bool, read at base RoIs only.
        is_base: (R,) bool; more generally, the RoIs whose mask may be read.
        cam: (R, H, W) in [0, 1], detached.
        options: `delta`, `strict_thresholds`, `cam_fallback`.
    """
    confident = _confident(cam, options.delta, options.strict_thresholds)
    base = _pixels_of(is_base, masks)
    foreground = _choose(base, masks, confident.foreground)
    background = _choose(base, ~masks, confident.background)
    if options.cam_fallback:
        sure = _confident(cam, 0.05, strict=True)
        foreground = _choose(_pixels_of(is_base & _fewer(foreground, 2), masks), sure.foreground, foreground)
        background = _choose(_pixels_of(is_base & _fewer(background, 2), masks), sure.background, background)
    return Partition(foreground, background)


def _pixels_of(rois: Tensor, like: Tensor) -> Tensor:
    """All pixels of the RoIs in `rois` (R,) bool, as a map (R, H, W)."""
    return rois[:, None, None].expand_as(like).contiguous()


def _choose(where: Tensor, these: Tensor, others: Tensor) -> Tensor:
    """torch.where of bool maps; bit by bit it takes a CPU a tenth of the time."""
    return others ^ ((these ^ others) & where)


def _confident(cam: Tensor, delta: float, strict: bool) -> Partition:
    if strict:
        return Partition(cam > 1 - delta, cam < delta)
    return Partition(cam >= 1 - delta, cam <= delta)


def _fewer(sets: Tensor, count: int) -> Tensor:
    return sets.sum(dim=(1, 2)) < count


def key_sets(masks: Tensor, is_base: Tensor, cam: Tensor, options: ContrastMaskOptions) -> KeySets:
    """Easy and hard keys before sampling: by distance to the boundary for base RoIs (Eq. 3), the CAM's sets for novel.

    A novel RoI's boundary is unknown, so its easy and hard sets are the same pixels, drawn independently.
    Arguments as in `partition`.
    """
    novel = _confident(cam, options.delta, options.strict_thresholds)
    edge = boundary(masks)
    near = grow(edge)
    if options.hard_keys == "distance":
        base = KeySets(masks & ~near, masks & near, ~masks & ~near, ~masks & near)
    else:  # the ring next to the edge pixels; inner edge pixels are easy, outer ones in no set
        ring = near & ~edge
        base = KeySets(masks & ~ring, masks & ring, ~masks & ~near, ~masks & ring)
    chosen = _pixels_of(is_base, masks)
    return KeySets(
        _choose(chosen, base.fg_easy, novel.foreground),
        _choose(chosen, base.fg_hard, novel.foreground),
        _choose(chosen, base.bg_easy, novel.background),
        _choose(chosen, base.bg_hard, novel.background),
    )


def sample(sets: Tensor, sigma: float) -> Tensor:
    """Draw ceil(sigma n) of the n pixels of each set (R, H, W), without replacement, from torch's global generator.

    The pixels of a set with the smallest random numbers are drawn. No set has more to draw than a full one; a smaller
    set's draw is filled up to that number, so that one top-k serves all and need not sort what it finds.
    """
    flat = sets.flatten(1)
    pixels = flat.shape[1]
    most = math.ceil(pixels * sigma - 1e-6)
    # in double precision, less a little: 0.3 * 170 is above 51 in single precision
    wanted = torch.ceil(flat.sum(dim=1, keepdim=True).double() * sigma - 1e-6)
    scores = torch.where(flat, torch.rand(flat.shape, device=flat.device), 2.0)
    filling = torch.where(torch.arange(most, device=flat.device) < wanted, 3.0, -1.0)  # most - wanted of them are drawn
    ordered = torch.cat([scores, filling], dim=1).view(torch.int32)  # the order of floats, sooner compared: none is NaN
    drawn = ordered.topk(most, dim=1, largest=False, sorted=False).indices
    chosen = flat.new_zeros(len(flat), pixels + most).scatter_(1, drawn, True)
    return chosen[:, :pixels].reshape(sets.shape)
