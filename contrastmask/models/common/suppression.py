"""Non-maximum suppression of many sets of boxes at once, for a GPU.

torchvision's operator goes from box to box: 3 ms for the 8,000 proposals of an image, one image after another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou


def suppress(sets: Sequence[Tensor], valid: Sequence[Tensor], threshold: float) -> list[Tensor]:
    """What greedy suppression keeps of each set.

    A box is kept unless it overlaps a kept one before it. Asked of all boxes at once, again and again from "all are
    kept", the answer is right for the first k boxes after k rounds and no longer changes after as many rounds as the
    longest chain of boxes that suppress each other: a handful (Cluster-NMS, Zheng et al., 2020).

    Args:
        sets: boxes (B, n, 4), each by falling score; B and n may differ.
        valid: (B, n) bool, the boxes that take part.
        threshold: boxes of a higher IoU overlap.

    Returns:
        (B, n) bool of each set.
    """
    # [b, i, j]: i comes before j and overlaps it
    before = [(box_iou(boxes, boxes) > threshold).triu(1) for boxes in sets]
    kept = valid
    while True:
        last = kept
        kept = [v & ~(b & k[..., None]).any(-2) for v, b, k in zip(valid, before, kept, strict=True)]
        changed = torch.stack([(now != then).any() for now, then in zip(kept, last, strict=True)])
        if not changed.any():  # a GPU waits here once a round, whatever the number of sets
            return kept
