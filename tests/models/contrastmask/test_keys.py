"""Partition, key sets and sampling against references written pixel by pixel from Sec. 3.3."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from contrastmask.config.options import OFFICIAL, ContrastMaskOptions
from contrastmask.models.common.cam import min_max
from contrastmask.models.contrastmask.keys import KeySets, boundary, grow, key_sets, partition, sample

PAPER = ContrastMaskOptions()
RELEASED = ContrastMaskOptions(**OFFICIAL["contrastmask"])
MASKS = hnp.arrays(bool, st.tuples(st.integers(2, 9), st.integers(2, 9)))
few = settings(max_examples=60, deadline=None)


def disc(radius: float, size: int = 28) -> np.ndarray:
    """Pixels whose integer coordinates lie within `radius` of the middle pixel."""
    y, x = np.mgrid[:size, :size] - size // 2
    return x**2 + y**2 <= radius**2


def naive_boundary(mask: np.ndarray) -> np.ndarray:
    """Central differences inside, one-sided ones at the rim."""
    rows, columns = np.gradient(mask.astype(float))
    return (rows != 0) | (columns != 0)


def naive_squared_distance(mask: np.ndarray) -> np.ndarray:
    """Squared distance of each pixel to the nearest boundary pixel b_i; inf without a boundary."""
    edge = np.argwhere(naive_boundary(mask))
    out = np.full(mask.shape, np.inf)
    for i, j in np.ndindex(*mask.shape):
        out[i, j] = min(((i - a) ** 2 + (j - b) ** 2 for a, b in edge), default=np.inf)
    return out


def naive_roi(mask: np.ndarray, is_base: bool, cam: np.ndarray, options: ContrastMaskOptions) -> dict[str, np.ndarray]:
    """I+, I-, K+_E, K+_H, K-_E, K-_H of one RoI before sampling, pixel by pixel."""
    names = ("fg", "bg", "fg_easy", "fg_hard", "bg_easy", "bg_hard")
    out = {name: np.zeros(mask.shape, dtype=bool) for name in names}
    distance = naive_squared_distance(mask)
    for p in np.ndindex(*mask.shape):
        if options.strict_thresholds:
            sure = cam[p] > 1 - options.delta, cam[p] < options.delta
        else:
            sure = cam[p] >= 1 - options.delta, cam[p] <= options.delta
        if not is_base:
            out["fg"][p] = out["fg_easy"][p] = out["fg_hard"][p] = sure[0]
            out["bg"][p] = out["bg_easy"][p] = out["bg_hard"][p] = sure[1]
            continue
        side = "fg" if mask[p] else "bg"
        out[side][p] = True
        if options.hard_keys == "distance":  # Eq. 3
            out[side + ("_hard" if distance[p] <= 2 else "_easy")][p] = True
        elif 0 < distance[p] <= 2:  # within a 3 x 3 window of the edge set, not on it
            out[side + "_hard"][p] = True
        elif mask[p] or distance[p] > 2:  # the inner edge ring is easy; the outer one is in no set
            out[side + "_easy"][p] = True
    if is_base and options.cam_fallback:
        if mask.sum() < 2:
            out["fg"] = cam > 0.95
        if (~mask).sum() < 2:
            out["bg"] = cam < 0.05
    return out


def all_sets(masks: np.ndarray, is_base: list[bool], cam: np.ndarray, options: ContrastMaskOptions) -> list[Tensor]:
    """I+, I- and the four key sets of the module under test."""
    given_ = torch.from_numpy(masks), torch.tensor(is_base, dtype=torch.bool), torch.from_numpy(cam), options
    return [*partition(*given_), *key_sets(*given_).sets()]


@few
@given(MASKS)
def test_boundary_is_where_numpys_gradient_is_not_zero(mask: np.ndarray) -> None:
    assert np.array_equal(boundary(torch.from_numpy(mask)[None])[0].numpy(), naive_boundary(mask))


@few
@given(MASKS)
def test_grow_takes_pixels_within_squared_distance_two(mask: np.ndarray) -> None:
    expected = np.zeros_like(mask)
    for i, j in np.ndindex(*mask.shape):
        expected[i, j] = any((i - a) ** 2 + (j - b) ** 2 <= 2 for a, b in np.argwhere(mask))
    assert np.array_equal(grow(torch.from_numpy(mask)[None])[0].numpy(), expected)


@pytest.mark.parametrize("options", [PAPER, RELEASED], ids=["paper", "released"])
@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(bool, (3, 6, 7)),
    hnp.arrays(np.float32, (3, 6, 7), elements=st.sampled_from([0, 0.04, 0.05, 0.1, 0.5, 0.9, 0.95, 0.97, 1])),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_partition_and_key_sets_equal_the_equations_pixel_by_pixel(
    options: ContrastMaskOptions, masks: np.ndarray, cam: np.ndarray, is_base: list[bool]
) -> None:
    cam = cam + 1e-4 * np.where(cam == 0.1, -1, 1).astype(np.float32)  # away from thresholds in floating point
    ours = all_sets(masks, is_base, cam, options)
    for roi in range(3):
        expected = naive_roi(masks[roi], is_base[roi], cam[roi], options)
        for mine, (name, theirs) in zip(ours, expected.items(), strict=True):
            assert np.array_equal(mine[roi].numpy(), theirs), name


def test_thresholds_include_their_value_unless_strict() -> None:
    cam = torch.tensor([[[0.25, 0.75], [0.2, 0.8]]])  # exact in binary where it matters
    mask, novel = torch.zeros(1, 2, 2, dtype=torch.bool), torch.tensor([False])
    loose = partition(mask, novel, cam, replace(PAPER, delta=0.25))
    strict = partition(mask, novel, cam, replace(PAPER, delta=0.25, strict_thresholds=True))
    assert [int(s.sum()) for s in (*loose, *strict)] == [2, 2, 1, 1]


def test_released_rule_on_a_disc_of_radius_nine() -> None:
    mask = torch.from_numpy(disc(9))[None]
    keys = key_sets(mask, torch.tensor([True]), torch.zeros(1, 28, 28), RELEASED)
    edge = boundary(mask)
    inner, outer = edge & mask, edge & ~mask
    assert (int(inner.sum()), int(outer.sum())) == (48, 52)
    assert (inner & keys.fg_easy).equal(inner), "the inner ring is easy"
    assert not (outer & torch.stack(keys.sets()).any(0)).any(), "the outer ring is in no set"
    for hard in (keys.fg_hard, keys.bg_hard):  # the second ring: next to the first, not on it
        assert hard.any()
        assert not (hard & edge).any()
        assert (hard & ~grow(edge)).sum() == 0
    every = torch.stack(keys.sets()).sum(0)
    assert every.max() == 1
    assert int((every == 0).sum()) == 52


@pytest.mark.parametrize("options", [PAPER, RELEASED], ids=["paper", "released"])
@pytest.mark.parametrize("fill", ["empty", "full", "one pixel"])
def test_degenerate_masks_give_the_naive_sets(options: ContrastMaskOptions, fill: str) -> None:
    masks = np.full((1, 14, 14), fill == "full")
    masks[0, 7, 7] |= fill == "one pixel"
    cam = np.random.default_rng(0).random((1, 14, 14), dtype=np.float32)
    expected = naive_roi(masks[0], True, cam[0], options)
    for mine, (name, theirs) in zip(all_sets(masks, [True], cam, options), expected.items(), strict=True):
        assert np.array_equal(mine[0].numpy(), theirs), name
    if fill != "one pixel":
        assert not boundary(torch.from_numpy(masks)).any()


def test_constant_cam_gives_no_foreground_and_all_background() -> None:
    cam = min_max(torch.full((1, 14, 14), 3.7))
    assert cam.abs().max() == 0
    regions = partition(torch.zeros(1, 14, 14, dtype=torch.bool), torch.tensor([False]), cam, PAPER)
    assert not regions.foreground.any()
    assert regions.background.all()


def test_no_rois_give_empty_sets() -> None:
    none = np.zeros((0, 14, 14))
    for options in (PAPER, RELEASED):
        for found in all_sets(none.astype(bool), [], none.astype(np.float32), options):
            assert found.shape == (0, 14, 14)
    assert sample(torch.zeros(0, 14, 14, dtype=torch.bool), 0.3).shape == (0, 14, 14)


# ---------------------------------------------------------------- the sampling operator


@pytest.mark.parametrize("sigma", ["0.3", "0.1", "0.55", "0.07", "1.0"])
def test_sample_draws_exactly_the_ceiling_for_every_count(sigma: str) -> None:
    counts = range(785)
    sets = torch.zeros(785, 28, 28, dtype=torch.bool)
    for n in counts:
        sets[n].view(-1)[torch.randperm(784)[:n]] = True
    drawn = sample(sets, float(sigma))
    assert not (drawn & ~sets).any()
    expected = [math.ceil(Fraction(sigma) * n) for n in counts]  # exact arithmetic: 0.3 x 10 is 3
    assert drawn.sum(dim=(1, 2)).tolist() == expected


@few
@given(MASKS, st.integers(1, 100))
def test_sample_draws_a_subset_of_the_ceilings_size(mask: np.ndarray, percent: int) -> None:
    sets = torch.from_numpy(mask)[None]
    drawn = sample(sets, percent / 100)
    assert not (drawn & ~sets).any()
    assert int(drawn.sum()) == math.ceil(Fraction(percent, 100) * int(sets.sum()))


def test_four_sets_drawn_at_once_are_those_drawn_apart() -> None:
    sets = torch.rand(4, 3, 14, 14) < 0.5
    torch.manual_seed(5)
    apart = [sample(s, 0.3) for s in sets]
    torch.manual_seed(5)
    assert all(a.equal(b) for a, b in zip(KeySets(*sets).sample(0.3).sets(), apart, strict=True))


def test_sample_is_uniform_over_the_set() -> None:
    torch.manual_seed(0)
    sets = torch.zeros(4000, 5, 5, dtype=torch.bool)
    sets[:, 1:3] = True  # 10 pixels, 3 are drawn
    rate = sample(sets, 0.3).float().mean(0)[1:3]
    # sd of a pixel's rate: sqrt(0.3 x 0.7 / 4000) = 0.0072
    assert (rate - 0.3).abs().max() < 0.03


def test_sample_depends_on_torchs_seed_only_and_draws_anew() -> None:
    sets = torch.ones(2, 14, 14, dtype=torch.bool)
    torch.manual_seed(3)
    first, second = sample(sets, 0.3), sample(sets, 0.3)
    np.random.seed(99)
    torch.manual_seed(3)
    assert sample(sets, 0.3).equal(first)
    assert not second.equal(first)
    assert not first[0].equal(first[1]), "RoIs are drawn independently"


def test_easy_and_hard_keys_of_novel_rois_are_drawn_independently() -> None:
    full = torch.ones(1, 14, 14, dtype=torch.bool)
    drawn = KeySets(full, full, full, full).sample(0.3)
    assert not drawn.fg_easy.equal(drawn.fg_hard)


def test_only_empties_the_sets_of_other_rois() -> None:
    full = torch.ones(3, 4, 4, dtype=torch.bool)
    kept = KeySets(full, full, full, full).only(torch.tensor([True, False, True]))
    assert all(s.any(dim=(1, 2)).tolist() == [True, False, True] for s in kept.sets())
