"""Expected costs: exact where costs are products of factors, wider the less is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.report.cost import (
    CALIBRATED,
    FLOOR,
    Costs,
    Estimate,
    Knowledge,
    System,
    cheapest_sufficient,
    expected_cost,
    total,
)

METHOD = {"mask-rcnn": 1.0, "contrastmask": 1.5, "opmask": 2.5}
BACKBONE = {"r50": 0.4, "r101": 0.6, "x101": 1.3}
ALL = [System(m, b) for m, b in itertools.product(METHOD, BACKBONE)]


def true(system: System) -> float:
    return METHOD[system.method] * BACKBONE[system.backbone]


def ratio(estimate: Estimate | None) -> float:
    """How far an interval reaches, as a factor."""
    assert estimate is not None
    return estimate.high / estimate.value


def knowledge(observed: list[tuple[System, float]], startup: float = 0.0) -> Knowledge:
    return Knowledge(Costs(observed), Costs(observed), Costs(observed), startup, "a test")


# ---------------------------------------------------------------------------- one estimate


def test_nothing_known() -> None:
    assert Costs([]).expect(ALL[0]) is None


def test_the_same_system_is_the_geometric_mean_of_what_it_took() -> None:
    estimate = Costs([(ALL[0], 1.0), (ALL[0], 4.0), (ALL[1], 9.0)]).expect(ALL[0])
    assert estimate and estimate.basis == "same system" and estimate.value == pytest.approx(2.0)
    # pooled spread: ln 2 around the mean twice, one degree of freedom; a new one beside a mean of two
    sd = math.sqrt(2 * math.log(2) ** 2 / 1) * math.sqrt(1 + 1 / 2)
    assert (estimate.low, estimate.high) == pytest.approx((2 * math.exp(-2 * sd), 2 * math.exp(2 * sd)))


def test_other_options_of_the_method_come_before_other_methods() -> None:
    costs = Costs([(System("opmask", "r50", "a"), 2.0), (System("mask-rcnn", "r50"), 1.0)])
    estimate = costs.expect(System("opmask", "r50", "b"))
    assert estimate and (estimate.basis, estimate.value) == ("other options", pytest.approx(2.0))


def test_factors_are_found_where_costs_are_products() -> None:
    """A spanning tree of methods and backbones determines every product."""
    tree = [s for s in ALL if s.backbone == "r50" or s.method == "mask-rcnn"]
    costs = Costs([(s, true(s)) for s in tree])
    for s in set(ALL) - set(tree):
        estimate = costs.expect(s)
        assert estimate and estimate.basis == "factors" and estimate.value == pytest.approx(true(s))
        assert ratio(estimate) == pytest.approx(math.exp(2 * FLOOR["factors"]))


def test_factors_are_not_made_up_where_nothing_connects_them() -> None:
    """opmask only on x101, mask-rcnn only on r50: the product of opmask and r50 is open."""
    costs = Costs([(System("opmask", "x101"), 3.0), (System("mask-rcnn", "r50"), 0.4)])
    estimate = costs.expect(System("opmask", "r50"))
    assert estimate and estimate.basis == "other systems"
    assert estimate.value == pytest.approx(0.4)  # of those with the same backbone


def test_the_less_is_known_the_wider() -> None:
    costs = Costs([(System("mask-rcnn", "r50", "a"), 0.4), (System("opmask", "r50"), 1.0), (ALL[1], 0.6)])
    kinds = [
        System("mask-rcnn", "r50", "a"),
        System("mask-rcnn", "r50", "b"),
        System("opmask", "r101"),
        System("x", "y"),
    ]
    estimates = [costs.expect(s) for s in kinds]
    assert [e.basis for e in estimates if e] == list(FLOOR)
    reach = [ratio(e) for e in estimates]
    assert reach == sorted(reach) and len(set(reach)) == 4


def test_a_calibration_widens_everything() -> None:
    assert ratio(Costs([(ALL[0], 1.0)], CALIBRATED).expect(ALL[0])) == pytest.approx(math.exp(2 * CALIBRATED))


@given(
    st.lists(st.tuples(st.sampled_from(ALL), st.floats(0.01, 100)), min_size=1), st.sampled_from(ALL), st.floats(0.1, 9)
)
def test_intervals_hold_the_estimate_and_units_do_not_matter(
    observed: list[tuple[System, float]], asked: System, unit: float
) -> None:
    one = Costs(observed).expect(asked)
    two = Costs([(s, value * unit) for s, value in observed]).expect(asked)
    assert one and two and one.low <= one.value <= one.high
    assert (two.value, two.low, two.high) == pytest.approx(
        (one.value * unit, one.low * unit, one.high * unit), rel=1e-6
    )


def test_intervals_hold_most_of_what_comes() -> None:
    """Products with normal relative errors: about nine of ten new costs lie within."""
    rng, inside, count = np.random.default_rng(0), 0, 0
    for _ in range(100):
        observed = [(s, true(s) * math.exp(rng.normal(0, 0.3))) for s in ALL for _ in range(2)]
        costs = Costs([o for i, o in enumerate(observed) if i % 5])
        for s in ALL:
            estimate = costs.expect(s)
            assert estimate
            inside += estimate.low <= true(s) * math.exp(rng.normal(0, 0.3)) <= estimate.high
            count += 1
    assert 0.87 < inside / count < 0.97


# ---------------------------------------------------------------------------- a run


def test_a_run_is_its_iterations_its_evaluation_and_two_starts() -> None:
    cost = expected_cost(ALL[0], 100, 50, knowledge([(ALL[0], 0.2)], startup=5.0))
    assert cost.seconds and cost.seconds.value == pytest.approx(100 * 0.2 + 5 + 50 * 0.2 + 5)
    assert cost.seconds.low < cost.seconds.value < cost.seconds.high


def test_what_is_done_costs_nothing() -> None:
    known = knowledge([(ALL[0], 0.2)], startup=5.0)
    evaluation = expected_cost(ALL[0], 0, 50, known).seconds
    assert evaluation and evaluation.value == pytest.approx(15)
    assert expected_cost(ALL[0], 0, 0, known).seconds is None


def test_an_unknown_part_makes_the_whole_unknown() -> None:
    known = knowledge([(ALL[0], 0.2)])
    assert expected_cost(ALL[0], None, 50, known).seconds is None
    assert expected_cost(ALL[0], 100, 50, knowledge([])).seconds is None


def test_sums() -> None:
    a, b = Estimate(10, 5, 20, "same system"), Estimate(1, 0.5, 3, "factors")
    assert total([a, b]) == Estimate(11, 5.5, 23, "same system")
    assert total([]) is None


# ---------------------------------------------------------------------------- what to calibrate


def test_cheapest_sufficient_is_sufficient_and_small() -> None:
    chosen = cheapest_sufficient(ALL, [], lambda s: (true(s), 0))
    assert len(chosen) == len(METHOD) + len(BACKBONE) - 1
    costs = Costs([(s, true(s)) for s in chosen])
    assert all(e and e.value == pytest.approx(true(s)) for s in ALL if (e := costs.expect(s)))
    cheapest = min(
        sum(map(true, tree))
        for tree in itertools.combinations(ALL, 5)
        if all((e := Costs([(s, true(s)) for s in tree]).expect(s)) and e.basis != "other systems" for s in ALL)
    )
    assert sum(map(true, chosen)) == pytest.approx(cheapest)


def test_what_is_known_is_not_measured_again() -> None:
    known = [System("mask-rcnn", "r50"), System("mask-rcnn", "r101")]
    chosen = cheapest_sufficient(ALL, known, lambda s: (true(s), 0))
    assert len(chosen) == 3 and not set(chosen) & set(known)
    assert cheapest_sufficient(ALL, ALL, lambda s: (true(s), 0)) == []
