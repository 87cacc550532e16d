"""Verdicts of table cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.report import verdict as v

AP = st.floats(0, 100)


@pytest.mark.parametrize(
    ("ours", "printed", "sd", "expected"),
    [
        (34.6, 34.4, None, v.AS_PRINTED),  # 0.2 in binary is a little more
        (34.2, 34.4, None, v.AS_PRINTED),
        (34.61, 34.4, None, v.HIGHER),
        (34.19, 34.4, None, v.LOWER),
        (35.0, 34.4, 0.3, v.AS_PRINTED),  # within 2 sd over the seeds
        (35.1, 34.4, 0.3, v.HIGHER),
        (34.5, 34.4, 0.0, v.AS_PRINTED),  # equal seeds do not make the authors' noise smaller
        (34.4, None, None, v.UNPRINTED),
        (None, 34.4, None, v.UNMEASURED),
        (None, None, None, v.UNMEASURED),
    ],
)
def test_at_a_comparable_scale(ours, printed, sd, expected):
    assert v.verdict(ours, printed, sd, comparable=True) == expected


@given(AP, AP, st.none() | st.floats(0, 10))
def test_other_scales_are_never_compared(ours, printed, sd):
    assert v.verdict(ours, printed, sd, comparable=False) == v.NOT_COMPARABLE


@given(AP, AP, st.none() | st.floats(0, 10))
def test_higher_and_lower_mirror_each_other(ours, printed, sd):
    mirrored = {v.HIGHER: v.LOWER, v.LOWER: v.HIGHER, v.AS_PRINTED: v.AS_PRINTED}
    assert v.verdict(printed, ours, sd, True) == mirrored[v.verdict(ours, printed, sd, True)]


def test_verdicts_can_be_told_apart_without_colour():
    assert (
        len({verdict.sign for verdict in v.VERDICTS})
        == len({verdict.text for verdict in v.VERDICTS})
        == len(v.VERDICTS)
    )
