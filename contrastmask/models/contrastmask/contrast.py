"""The query-sharing pixel-level contrastive loss (Eq. 1, 2, 4) and its weight lambda (Eq. 5).

Shapes: R RoIs of one query group, P = H x W pixels, C channels. Tensor algebra only; the modules are elsewhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.contrastmask.keys import KeySets, Partition


def region_means(features: Tensor, regions: Tensor) -> Tensor:
    """Mean feature (R, C) over each RoI's region: the inner average of Eq. 2; 0 where the region is empty.

    Args:
        features: (R, P, C).
        regions: (R, P) bool.
    """
    weights = regions.to(features.dtype)
    return torch.einsum("rp,rpc->rc", weights, features) / weights.sum(1, keepdim=True).clamp(min=1)


def queries(features: Tensor, regions: Tensor, rois: Tensor, shared: bool) -> Tensor:
    """The query of each RoI, (R, C): Eq. 2's mean over `rois`, the same for all, or each RoI's own (Table 7 "no").

    Args:
        features: (R, P, C).
        regions: (R, P) bool, I+ or I-.
        rois: (R,) bool, the RoIs averaged; at least one.
        shared: option `query_sharing`.
    """
    means = region_means(features, regions)
    if not shared:
        return means
    return means[rois].mean(dim=0, keepdim=True).expand_as(means)


def similarities(query: Tensor, features: Tensor, kind: str) -> Tensor:
    """phi(q, k) for every pixel, (R, P): cos(q, k), or cos(q, k - q) of the released code ("residual").

    Args:
        query: (R, C).
        features: (R, P, C).
        kind: option `similarity`.
    """
    keys = features - query[:, None] if kind == "residual" else features
    return F.cosine_similarity(query[:, None], keys, dim=-1, eps=1e-6)


def info_nce(similarity: Tensor, positives: Tensor, negatives: Tensor, tau: float, tau_below: bool) -> Tensor:
    """Eq. 1 for each row, averaged over the rows that have both positives and negatives; 0 if none has.

    Args:
        similarity: (B, P), phi(q, k) of each key.
        positives: (B, P) bool, K+.
        negatives: (B, P) bool, K-.
        tau: temperature.
        tau_below: divide the positive's term in the denominator by tau too, as Eq. 1 does; without it (released code)
            the value can be negative.
    """
    rows = positives.any(1) & negatives.any(1)
    if not rows.any():
        return similarity.sum() * 0
    similarity, positives, negatives = similarity[rows], positives[rows], negatives[rows]
    scaled = similarity / tau
    below = torch.logsumexp(scaled.masked_fill(~negatives, -torch.inf), dim=1, keepdim=True)
    terms = torch.logaddexp(scaled if tau_below else similarity, below) - scaled
    per_row = terms.masked_fill(~positives, 0).sum(1) / positives.sum(1)
    return per_row.mean()


def group_loss(features: Tensor, regions: Partition, keys: KeySets, options: ContrastMaskOptions) -> Tensor:
    """L_con of Eq. 4 for the RoIs that share a query pair.

    Args:
        features: (R, P, C), projected features Z.
        regions: I+ and I-, (R, H, W) each.
        keys: the key sets that may be drawn, (R, H, W) each; empty for RoIs that take no part.
        options: `query_rois`, `query_sharing`, `similarity`, `tau`, `tau_in_denominator`, `pool_keys`, `sigma`.

    Returns:
        A scalar; 0 with a gradient where no RoI has a partition.
    """
    foreground, background = (region.flatten(1) for region in regions)
    rois = foreground.any(1) & background.any(1)
    if options.query_rois == "kept":
        rois = rois & torch.stack([s.flatten(1).any(1) for s in keys.sets()]).all(0)
    if not rois.any():
        return features.sum() * 0
    drawn = [s.flatten(1) for s in keys.only(rois).sample(options.sigma).sets()]
    fg, bg = (
        similarities(queries(features, region, rois, options.query_sharing), features, options.similarity)
        for region in (foreground, background)
    )
    if options.pool_keys and options.query_sharing:  # a query of one RoI meets that RoI's keys only (Table 7 "no")
        fg, bg, *drawn = (t.reshape(1, -1) for t in (fg, bg, *drawn))
    fg_easy, fg_hard, bg_easy, bg_hard = drawn
    easy, hard, below = options.tau, 1 - options.tau, options.tau_in_denominator
    return (
        info_nce(fg, fg_easy, bg_easy, easy, below)
        + info_nce(fg, fg_hard, bg_hard, hard, below)
        + info_nce(bg, bg_easy, fg_easy, easy, below)
        + info_nce(bg, bg_hard, fg_hard, hard, below)
    )


def contrastive_weight(progress: float, options: ContrastMaskOptions) -> float:
    """lambda of Eq. 5 at `progress` in [0, 1] of the training, times option `loss_scale`.

    The text: "we linearly warmup lambda from 0.25 to 1.0", over a length it does not give. The released code reaches 1
    at epoch 4 of 12, in steps: epochs 0 and 1 0.25, epoch 2 0.5, epoch 3 0.75. Both end after a third of training.
    """
    if options.lambda_warmup == "linear":
        warm = min(0.25 + 0.75 * progress * 3, 1.0)
    else:
        warm = min(max(0.25, int(progress * 12) / 4), 1.0)
    return warm * options.loss_scale
