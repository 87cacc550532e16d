"""The loss of Eq. 1, 2 and 4 against loops over RoIs and keys that mirror the equations."""

import math
from dataclasses import replace
from itertools import chain, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from benchmarks.counts import counted
from contrastmask.config.options import OFFICIAL, ContrastMaskOptions
from contrastmask.models.contrastmask.contrast import (
    contrastive_loss,
    contrastive_weight,
    info_nce,
    products,
    similarities,
)
from contrastmask.models.contrastmask.keys import KeySets, Partition, key_sets, partition

PAPER = ContrastMaskOptions(sigma=1.0)  # all keys are drawn, so that nothing is random
RELEASED = ContrastMaskOptions(**OFFICIAL["contrastmask"] | {"sigma": 1.0})
SIDE, CHANNELS = 4, 5
few = settings(max_examples=40, deadline=None)
three_ways = pytest.mark.parametrize(
    "options",
    [PAPER, RELEASED, replace(PAPER, query_sharing=False)],
    ids=["paper", "released", "own queries"],
)


def phi(query: np.ndarray, key: np.ndarray, kind: str) -> float:
    """cos(q, k), or cos(q, k - q)."""
    key = key - query if kind == "residual" else key
    return float(query @ key / max(np.linalg.norm(query) * np.linalg.norm(key), 1e-12))


def equation_1(positives: list[float], negatives: list[float], tau: float, tau_below: bool) -> float | None:
    """The loss from the similarities of K+ and K-; None if one of them is empty."""
    if not positives or not negatives:
        return None
    total = 0.0
    for s in positives:
        below = math.exp(s / tau if tau_below else s) + sum(math.exp(n / tau) for n in negatives)
        total += s / tau - math.log(below)
    return -total / len(positives)


def naive_loss(z: np.ndarray, fg: np.ndarray, bg: np.ndarray, keys: list[np.ndarray], o: ContrastMaskOptions) -> float:
    """Eq. 4 with sigma = 1, by loops. z (R, P, C); fg, bg and the four key sets (R, P)."""
    rois = [n for n in range(len(z)) if fg[n].any() and bg[n].any()]
    if o.query_rois == "kept":
        rois = [n for n in rois if all(k[n].any() for k in keys)]
    if not rois:
        return 0.0
    means = {n: (z[n][fg[n]].mean(0), z[n][bg[n]].mean(0)) for n in rois}
    shared = tuple(sum(means[n][side] for n in rois) / len(rois) for side in (0, 1))  # Eq. 2
    fg_easy, fg_hard, bg_easy, bg_hard = keys
    total = 0.0
    for side, positive, negative, tau in (
        (0, fg_easy, bg_easy, o.tau),
        (0, fg_hard, bg_hard, 1 - o.tau),
        (1, bg_easy, fg_easy, o.tau),
        (1, bg_hard, fg_hard, 1 - o.tau),
    ):
        found = []
        for n in rois:
            query = (shared if o.query_sharing else means[n])[side]
            found.append(
                tuple([phi(query, z[n][i], o.similarity) for i in np.flatnonzero(k[n])] for k in (positive, negative))
            )
        if o.pool_keys and o.query_sharing:
            found = [tuple(list(chain.from_iterable(f[which] for f in found)) for which in (0, 1))]
        terms = [t for p, m in found if (t := equation_1(p, m, tau, o.tau_in_denominator)) is not None]
        total += sum(terms) / len(terms) if terms else 0.0
    return total


def random_case(seed: int, rois: int = 4, density: float = 0.4) -> tuple[Tensor, Partition, KeySets]:
    """Features, partition and key sets inside it, with some sets empty."""
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(rng.normal(size=(rois, SIDE * SIDE, CHANNELS)))
    fg = rng.random((rois, SIDE, SIDE)) < 0.5
    bg = ~fg & (rng.random(fg.shape) < 0.8)
    keys = [side & (rng.random(fg.shape) < density) for side in (fg, fg, bg, bg)]
    if rois > 2:
        fg[0] = False  # no partition
        keys[0] = keys[0] & fg
        keys[1] = keys[1] & fg
        keys[3][1] = False  # one empty key set
    to = torch.from_numpy
    return z, Partition(to(fg), to(bg)), KeySets(*(to(k) for k in keys))


def group_loss(z: Tensor, regions: Partition, keys: KeySets, options: ContrastMaskOptions) -> Tensor:
    """The loss of RoIs that are one query group."""
    return contrastive_loss(z, regions, keys, torch.zeros(len(z), dtype=torch.long), options)


def naive_of(case: tuple[Tensor, Partition, KeySets], options: ContrastMaskOptions) -> float:
    z, regions, keys = case
    flat = [s.flatten(1).numpy() for s in (*regions, *keys.sets())]
    return naive_loss(z.numpy(), flat[0], flat[1], flat[2:], options)


COMBINATIONS = [
    replace(PAPER, similarity=s, tau_in_denominator=t, pool_keys=p, query_sharing=q, query_rois=k)
    for s, t, p, q, k in product(("cosine", "residual"), (True, False), (False, True), (True, False), ("all", "kept"))
]


@pytest.mark.parametrize("options", [*COMBINATIONS, RELEASED])
def test_group_loss_equals_the_equations(options: ContrastMaskOptions) -> None:
    for seed in range(4):
        case = random_case(seed)
        assert float(group_loss(*case, options)) == pytest.approx(naive_of(case, options), abs=1e-8)


@pytest.mark.parametrize("options", [PAPER, RELEASED], ids=["paper", "released"])
def test_the_loss_sees_the_share_sigma_of_the_keys(options: ContrastMaskOptions) -> None:
    z, regions, keys = random_case(1, density=0.8)
    torch.manual_seed(2)
    loss = float(group_loss(z, regions, keys, replace(options, sigma=0.3)))
    torch.manual_seed(2)
    drawn = keys.only(torch.stack([r.flatten(1).any(1) for r in regions]).all(0))
    if options.query_rois == "kept":
        drawn = drawn.only(torch.stack([s.flatten(1).any(1) for s in keys.sets()]).all(0))
    assert loss == pytest.approx(naive_of((z, regions, drawn.sample(0.3)), options), abs=1e-8)
    assert abs(loss - naive_of((z, regions, keys), options)) > 1e-3


def test_products_and_their_gradients_equal_autograds() -> None:
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.normal(size=(3, 7, CHANNELS))).requires_grad_()
    regions, members = torch.from_numpy(rng.random((3, 2, 7)) < 0.5), torch.from_numpy(rng.random((3, 3)) < 0.5)
    queries, dot, square = products(z, regions, members)
    torch.testing.assert_close(dot, torch.einsum("rqc,rpc->rqp", queries, z))
    torch.testing.assert_close(square, z.square().sum(-1))
    assert torch.autograd.gradcheck(lambda x: products(x, regions, members), (z,))


@few
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.7]), st.booleans())
def test_info_nce_averages_eq_1_over_rows_that_have_both_kinds(seed: int, tau: float, tau_below: bool) -> None:
    rng = np.random.default_rng(seed)
    s = rng.uniform(-1, 1, (4, 6))
    positive, negative = rng.random((4, 6)) < 0.4, rng.random((4, 6)) < 0.4
    rows = [equation_1(list(v[p]), list(v[n]), tau, tau_below) for v, p, n in zip(s, positive, negative, strict=True)]
    valid = [row for row in rows if row is not None]
    expected = sum(valid) / len(valid) if valid else 0.0
    to = torch.from_numpy
    given_ = *(to(a)[None] for a in (s, positive, negative)), torch.tensor([tau], dtype=torch.double)
    losses, there = info_nce(*given_, tau_below, torch.eye(4, dtype=torch.bool))
    assert there[0].tolist() == [row is not None for row in rows]
    assert float(losses[there].mean() if there.any() else 0) == pytest.approx(expected, abs=1e-9)


def similarities_of(queries: Tensor, features: Tensor, kind: str) -> Tensor:
    """Of every query with every key."""
    return similarities(queries, queries @ features.transpose(1, 2), features.square().sum(-1), kind)


def plain_similarities(queries: Tensor, features: Tensor, kind: str) -> Tensor:
    """torch's cosine similarity of every query with every key, less the query if "residual"."""
    query, keys = queries[:, :, None], features[:, None]
    return torch.cosine_similarity(query, keys - query if kind == "residual" else keys, dim=-1, eps=1e-6)


@few
@given(st.integers(0, 10**6), st.sampled_from(["cosine", "residual"]), st.sampled_from([1e-3, 1.0, 1e3]))
def test_similarities_and_their_gradients_equal_the_plain_form(seed: int, kind: str, scale: float) -> None:
    rng = np.random.default_rng(seed)
    q, z = (torch.from_numpy(rng.normal(size=s) * scale).requires_grad_() for s in ((3, 2, CHANNELS), (3, 7, CHANNELS)))
    weights = torch.from_numpy(rng.normal(size=(3, 2, 7)))
    mine, plain = (f(q, z, kind) for f in (similarities_of, plain_similarities))
    assert (mine - plain).abs().max() < 1e-9
    gradients = (torch.autograd.grad((found * weights).sum(), (q, z)) for found in (mine, plain))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).abs().max() * scale < 1e-7 * max(1.0, float(theirs.abs().max()) * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("closeness", [1.0, 1e-1, 1e-2, 1e-3, 1e-5, 1e-8, 0.0])
def test_keys_close_to_the_query_lose_no_more_than_the_precision_of_their_terms(
    dtype: torch.dtype, closeness: float
) -> None:
    """|k - q|^2 = |k|^2 - 2 k.q + |q|^2 has an error of some eps |q|^2: relative to |k - q|^2 it grows as they meet."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(4, 2, 64, generator=generator, dtype=torch.double)
    z = q[:, :1] + closeness * torch.randn(4, 50, 64, generator=generator, dtype=torch.double)
    q, z = q.to(dtype), z.to(dtype).requires_grad_()
    found = similarities_of(q, z, "residual")
    plain = plain_similarities(q.double(), z.detach().double(), "residual")
    error = 20 * torch.finfo(dtype).eps / max(closeness, 1e-9) ** 2
    assert (found - plain)[:, 0].abs().max() < min(error, 1.1)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert found.abs().max() < 1.1
    assert gradient.norm(dim=-1).max() < 1 / torch.finfo(dtype).eps ** 0.5


@three_ways
def test_groups_add_up_and_do_not_meet(options: ContrastMaskOptions) -> None:
    first, second = random_case(3, rois=4, density=0.8), random_case(4, rois=3, density=0.8)
    both = (
        torch.cat([first[0], second[0]]),
        Partition(*(torch.cat(pair) for pair in zip(first[1], second[1], strict=True))),
        KeySets(*(torch.cat(pair) for pair in zip(first[2].sets(), second[2].sets(), strict=True))),
    )
    groups = torch.tensor([2] * 4 + [5] * 3)  # any numbers serve
    total = float(group_loss(*first, options)) + float(group_loss(*second, options))
    assert float(contrastive_loss(*both, groups, options)) == pytest.approx(total, abs=1e-9)


@three_ways
def test_gradient_equals_finite_differences(options: ContrastMaskOptions) -> None:
    z, regions, keys = random_case(5, rois=3)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: group_loss(x, regions, keys, options), (z,), atol=1e-6)
    loss = group_loss(z, regions, keys, options)
    assert torch.autograd.grad(loss, z)[0].abs().max() > 0


@few
@given(
    hnp.arrays(bool, (6, 3, SIDE, SIDE)),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sampled_from([PAPER, RELEASED, replace(PAPER, query_sharing=False), replace(RELEASED, query_sharing=False)]),
    st.sampled_from(["random", "zero", "equal"]),
)
def test_loss_and_gradient_are_never_nan(
    maps: np.ndarray, present: list[bool], options: ContrastMaskOptions, features: str
) -> None:
    sets = [torch.from_numpy(m & p) for m, p in zip(maps, present, strict=True)]
    z = {
        "random": torch.randn(3, SIDE * SIDE, CHANNELS),
        "zero": torch.zeros(3, SIDE * SIDE, CHANNELS),
        "equal": torch.ones(3, SIDE * SIDE, CHANNELS),
    }[features].requires_grad_()
    loss = group_loss(z, Partition(*sets[:2]), KeySets(*sets[2:]), options)
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("empty", ["no rois", "no partition", "no keys"])
def test_nothing_to_contrast_is_zero_with_a_gradient(empty: str) -> None:
    z, regions, keys = random_case(0)
    nowhere = torch.zeros_like(regions.foreground)
    if empty == "no rois":
        z, regions, keys = z[:0], Partition(*(r[:0] for r in regions)), KeySets(*(k[:0] for k in keys.sets()))
    elif empty == "no partition":
        regions = Partition(nowhere, regions.background)
    else:
        keys = KeySets(nowhere, nowhere, nowhere, nowhere)
    z.requires_grad_()
    loss = group_loss(z, regions, keys, PAPER)
    assert float(loss.detach()) == 0
    assert torch.autograd.grad(loss, z)[0].abs().sum() == 0


@pytest.mark.parametrize("options", [PAPER, RELEASED], ids=["paper", "released"])
def test_no_gpu_would_have_to_wait_from_masks_to_gradients(options: ContrastMaskOptions) -> None:
    masks, cam = torch.rand(6, 14, 14) < 0.5, torch.rand(6, 14, 14)
    is_base, groups = torch.tensor([True, False] * 3), torch.tensor([0, 0, 0, 1, 1, 1])
    z = torch.randn(6, 196, CHANNELS).requires_grad_()

    def step(_: int) -> None:
        given = masks, is_base, cam, options
        contrastive_loss(z, partition(*given), key_sets(*given), groups, options).backward()

    assert counted(SimpleNamespace(burst=step))[1] == 0
    assert z.grad is not None and z.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("warmup", "progress", "expected"),
    [
        ("linear", 0, 0.25),
        ("linear", 1 / 12, 0.4375),
        ("linear", 2 / 12, 0.625),
        ("linear", 1 / 3, 1.0),
        ("linear", 1, 1.0),
        ("epoch", 0, 0.25),
        ("epoch", 1 / 12, 0.25),
        ("epoch", 2 / 12 - 1e-9, 0.25),
        ("epoch", 2 / 12, 0.5),
        ("epoch", 3 / 12, 0.75),
        ("epoch", 1 / 3, 1.0),
        ("epoch", 1, 1.0),
    ],
)
def test_lambda_warms_up_as_documented(warmup: str, progress: float, expected: float) -> None:
    assert contrastive_weight(progress, replace(PAPER, lambda_warmup=warmup)) == pytest.approx(expected)
    scaled = replace(PAPER, lambda_warmup=warmup, loss_scale=0.1)
    assert contrastive_weight(progress, scaled) == pytest.approx(expected * 0.1)


@few
@given(st.integers(1, 10**5), st.integers(0, 12))
def test_stepwise_lambda_changes_at_the_first_iteration_of_an_epoch(per_epoch: int, epoch: int) -> None:
    options = replace(PAPER, lambda_warmup="epoch")
    expected = min(max(0.25, epoch / 4), 1)
    assert contrastive_weight(epoch * per_epoch / (12 * per_epoch), options) == expected
