"""The query-sharing pixel-level contrastive loss (Eq. 1, 2, 4) and its weight lambda (Eq. 5).

Shapes: R RoIs of all query groups of a batch, P = H x W pixels, C channels. Which RoIs share a query, or keys, is a
matrix (R, R) of zeros and ones, so that all groups are computed at once. Sets and empty cases are weights, not indices:
no shape depends on a value, and a GPU never has to wait for the CPU. Tensor algebra only; the modules are elsewhere.
"""

import torch
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.contrastmask.keys import KeySets, Partition

EPS = 1e-6  # least norm of a query, and of a key or its difference from the query


def region_means(features: Tensor, regions: Tensor) -> Tensor:
    """Mean feature (R, S, C) over each of a RoI's S regions: the inner average of Eq. 2; 0 where a region is empty.

    Args:
        features: (R, P, C).
        regions: (R, S, P) bool.
    """
    weights = regions.to(features.dtype)
    return torch.bmm(weights / weights.sum(-1, keepdim=True).clamp(min=1), features)


def mean_over(values: Tensor, members: Tensor) -> Tensor:
    """Mean of values (R, ...) over each RoI's members, (N, ...); 0 where there is none.

    Args:
        members: (N, R) bool.
    """
    weights = members.to(values.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return (weights @ values.flatten(1)).view(len(members), *values.shape[1:])


def similarities(queries: Tensor, features: Tensor, kind: str) -> Tensor:
    """phi(q, k) of each query with every pixel, (R, Q, P): cos(q, k), or the released code's cos(q, k - q), "residual".

    Only k.q and |k| are computed from the features: (k - q).q = k.q - |q|^2 and |k - q|^2 = |k|^2 - 2 k.q + |q|^2. That
    difference is rounding where k is so close to q that it is below the precision of its terms, so it ends there.

    Args:
        queries: (R, Q, C).
        features: (R, P, C).
        kind: option `similarity`.
    """
    dot = torch.bmm(queries, features.transpose(1, 2))
    query_norm = torch.linalg.vector_norm(queries, dim=-1)[..., None]
    key_norm = torch.linalg.vector_norm(features, dim=-1)[:, None]
    if kind == "residual":
        query_square, key_square = query_norm.square(), key_norm.square()
        least = 8 * torch.finfo(dot.dtype).eps * (key_square + query_square).detach()
        square = torch.maximum(key_square - 2 * dot + query_square, least)
        dot, key_norm = dot - query_square, square.clamp(min=EPS**2).sqrt()
    return dot / (query_norm.clamp(min=EPS) * key_norm.clamp(min=EPS))


def info_nce(
    similarity: Tensor, positives: Tensor, negatives: Tensor, tau: Tensor, tau_below: bool, pools: Tensor
) -> tuple[Tensor, Tensor]:
    """Eq. 1 for each pool of keys, of T independent terms.

    Args:
        similarity: (T, R, P), phi(q, k) of each key.
        positives: (T, R, P) bool, K+.
        negatives: (T, R, P) bool, K-.
        tau: (T,), temperatures.
        tau_below: divide the positive's term in the denominator by tau too, as Eq. 1 does; without it (released code)
            the value can be negative.
        pools: (R, R) bool, the RoIs whose keys each RoI's query meets.

    Returns:
        (T, R) the loss, the same for RoIs that share their keys; (T, R) bool, whether there are both positives and
        negatives. Without, the loss is finite and means nothing.
    """
    lowest = torch.finfo(similarity.dtype).min  # stands for -inf, whose gradient would be NaN
    scaled = similarity / tau[:, None, None]
    of_roi = scaled.masked_fill(~negatives, lowest).logsumexp(-1)
    below = of_roi[:, None].masked_fill(~pools, lowest).logsumexp(-1)
    terms = torch.logaddexp(scaled if tau_below else similarity, below[:, :, None]) - scaled
    number = positives.sum(-1)
    sums = torch.stack([(terms * positives).sum(-1), number, negatives.sum(-1)]) @ pools.to(terms.dtype)
    total, positive, negative = sums
    return total / positive.clamp(min=1), (positive > 0) & (negative > 0)


def contrastive_loss(
    features: Tensor, regions: Partition, keys: KeySets, groups: Tensor, options: ContrastMaskOptions
) -> Tensor:
    """L_con of Eq. 4, summed over the query groups.

    Args:
        features: (R, P, C), projected features Z.
        regions: I+ and I-, (R, H, W) each.
        keys: the key sets that may be drawn, (R, H, W) each; empty for RoIs that take no part.
        groups: (R,), the RoI's query group.
        options: `query_rois`, `query_sharing`, `similarity`, `tau`, `tau_in_denominator`, `pool_keys`, `sigma`.

    Returns:
        A scalar; 0 with a gradient where no RoI has a partition.
    """
    sides = torch.stack([region.flatten(1) for region in regions], dim=1)  # (R, 2, P)
    rois = sides.any(-1).all(1)
    if options.query_rois == "kept":
        rois = rois & torch.stack([s.flatten(1).any(1) for s in keys.sets()]).all(0)
    together = groups[:, None] == groups
    queries = region_means(features, sides)
    pools = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    if options.query_sharing:
        queries = mean_over(queries, together & rois)
        pools = together if options.pool_keys else pools  # a query of one RoI meets that RoI's keys only (Table 7 "no")
    on, off = similarities(queries, features, options.similarity).unbind(1)
    fg_easy, fg_hard, bg_easy, bg_hard = (s.flatten(1) for s in keys.only(rois).sample(options.sigma).sets())
    losses, there = info_nce(
        torch.stack([on, on, off, off]),
        torch.stack([fg_easy, fg_hard, bg_easy, bg_hard]),
        torch.stack([bg_easy, bg_hard, fg_easy, fg_hard]),
        features.new_tensor([options.tau, 1 - options.tau] * 2),
        options.tau_in_denominator,
        pools,
    )
    # the mean over a group's RoIs, as a weight of each RoI
    weights = there / (there.to(losses.dtype) @ together.to(losses.dtype)).clamp(min=1)
    return (losses * weights).sum()


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
