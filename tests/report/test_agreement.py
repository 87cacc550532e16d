"""How a measured number agrees with the printed one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.report import paper as a

AP = st.floats(0, 100)
NAN = float("nan")


@pytest.mark.parametrize(
    ("ours", "printed", "sd", "expected"),
    [
        (34.6, 34.4, NAN, a.AS_PRINTED),  # 0.2 in binary is a little more
        (34.2, 34.4, NAN, a.AS_PRINTED),
        (34.61, 34.4, NAN, a.HIGHER),
        (34.19, 34.4, NAN, a.LOWER),
        (35.0, 34.4, 0.3, a.AS_PRINTED),  # within 2 sd over the seeds
        (35.1, 34.4, 0.3, a.HIGHER),
        (34.5, 34.4, 0.0, a.AS_PRINTED),  # equal seeds do not make the authors' noise smaller
        (34.4, NAN, NAN, a.UNPRINTED),
        (NAN, 34.4, NAN, a.UNMEASURED),
        (NAN, NAN, NAN, a.UNMEASURED),
    ],
)
def test_agreement(ours, printed, sd, expected):
    assert a.agreement(ours, printed, sd) == expected


@given(AP, AP, st.just(NAN) | st.floats(0, 10))
def test_higher_and_lower_mirror_each_other(ours, printed, sd):
    mirrored = {a.HIGHER: a.LOWER, a.LOWER: a.HIGHER, a.AS_PRINTED: a.AS_PRINTED}
    assert a.agreement(printed, ours, sd) == mirrored[a.agreement(ours, printed, sd)]


def test_they_can_be_told_apart_without_colour():
    for what in ("sign", "text", "name"):
        assert len({getattr(agreement, what) for agreement in a.AGREEMENTS}) == len(a.AGREEMENTS)
