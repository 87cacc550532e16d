"""The query-sharing pixel-level contrastive loss (Eq. 1, 2, 4) and its weight lambda (Eq. 5).

Shapes: R RoIs of all query groups of a batch, P = H x W pixels, C channels. Which RoIs share a query, or keys, is a
matrix (R, R) of zeros and ones, so that all groups are computed at once. Sets and empty cases are weights, not indices:
no shape depends on a value, and a GPU never has to wait for the CPU. Tensor algebra only; the modules are elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from contrastmask.config.options import ContrastMaskOptions
from contrastmask.models.contrastmask.keys import KeySets, Partition

EPS = 1e-6  # least norm of a query, and of a key or its difference from the query


class Products(torch.autograd.Function):
    """Queries, their products with all keys, and the keys' squares: the only steps that touch every feature.

    The gradient with respect to the features is written once, where autograd would add up four tensors of their size.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, means: Tensor, members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (R, Q, C), products (R, Q, P) and squares (R, P).

        Args:
            features: (R, P, C).
            means: (R, Q, P), the weight of each pixel in a RoI's own mean.
            members: (R, R), the weight of each RoI's mean in a RoI's query.
        """
        own = torch.bmm(means, features)
        queries = (members @ own.flatten(1)).view_as(own)
        ctx.save_for_backward(features, means, members, queries)
        square = torch.linalg.vector_norm(features, dim=-1).square()
        return queries, torch.bmm(queries, features.transpose(1, 2)), square

    @staticmethod
    def backward(ctx: Any, of_queries: Tensor, of_dot: Tensor, of_square: Tensor) -> tuple[Tensor, None, None]:
        features, means, members, queries = ctx.saved_tensors
        of_queries = of_queries + torch.bmm(of_dot, features)
        of_own = (members.T @ of_queries.flatten(1)).view_as(queries)
        gradient = features * (2 * of_square[..., None])
        gradient.baddbmm_(torch.cat([of_dot, means], dim=1).transpose(1, 2), torch.cat([queries, of_own], dim=1))
        return gradient, None, None


def products(features: Tensor, regions: Tensor, members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (R, Q, C) of Eq. 2, q.k (R, Q, P) and |k|^2 (R, P) for every pixel.

    Args:
        features: (R, P, C).
        regions: (R, Q, P) bool, the pixels averaged into a RoI's own mean; 0 where there is none.
        members: (R, R) bool, the RoIs whose means are averaged into a RoI's query; 0 where there is none.
    """
    return Products.apply(features, _shares(regions, features), _shares(members, features))


def _shares(there: Tensor, features: Tensor) -> Tensor:
    """What each member of a set (..., N) counts in its mean; 0 where there is none."""
    weights = there.to(features.dtype)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1)


def similarities(queries: Tensor, dot: Tensor, square: Tensor, kind: str) -> Tensor:
    """phi(q, k) of each query with every pixel, (R, Q, P): cos(q, k), or the released code's cos(q, k - q), "residual".

    (k - q).q = k.q - |q|^2 and |k - q|^2 = |k|^2 - 2 k.q + |q|^2. That difference is rounding where k is so close to q
    that it is below the precision of its terms, so it ends there.

    Args:
        queries: q, (R, Q, C).
        dot: k.q, (R, Q, P).
        square: |k|^2, (R, P).
        kind: option `similarity`.
    """
    query_norm, square = torch.linalg.vector_norm(queries, dim=-1)[..., None], square[:, None]
    if kind == "residual":
        query_square = query_norm.square()
        least = 8 * torch.finfo(dot.dtype).eps * (square + query_square).detach()
        square = torch.maximum(square - 2 * dot + query_square, least)
        dot = dot - query_square
    return dot / (query_norm.clamp(min=EPS) * square.clamp(min=EPS**2).sqrt())


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
    alone = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    members = together & rois if options.query_sharing else alone
    # a query of one RoI meets that RoI's keys only (Table 7 "no")
    pools = together if options.query_sharing and options.pool_keys else alone
    on, off = similarities(*products(features, sides, members), options.similarity).unbind(1)
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
