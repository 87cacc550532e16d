"""What a measured number says about the printed one: one word and one sign for each table cell."""

from dataclasses import dataclass

AUTHORS_NOISE = 0.2  # AP between runs of the authors' own code (their README)


@dataclass(frozen=True)
class Verdict:
    """How a cell is read. `sign` carries the same as the colour; `name` is the CSS class."""

    name: str
    sign: str
    text: str


AS_PRINTED = Verdict("same", "=", "as printed")
HIGHER = Verdict("higher", "▲", "higher than printed")
LOWER = Verdict("lower", "▼", "lower than printed")
NOT_COMPARABLE = Verdict("incomparable", "○", "not comparable")
UNPRINTED = Verdict("unprinted", "·", "nothing printed")
UNMEASURED = Verdict("missing", "–", "nothing measured")
VERDICTS = (AS_PRINTED, HIGHER, LOWER, NOT_COMPARABLE, UNPRINTED, UNMEASURED)


def tolerance(sd: float | None) -> float:
    """AP that two equal systems may lie apart: the authors' noise, or 2 sd over our seeds where that is more."""
    return max(AUTHORS_NOISE, 2 * (sd or 0.0))


def verdict(ours: float | None, printed: float | None, sd: float | None, comparable: bool) -> Verdict:
    """Compare a mean over seeds with the printed number.

    Args:
        ours, printed: AP x 100; None where there is none.
        sd: sample standard deviation over the seeds, None for fewer than two.
        comparable: whether the scale may be compared with the paper at all.
    """
    if ours is None:
        return UNMEASURED
    if printed is None:
        return UNPRINTED
    if not comparable:
        return NOT_COMPARABLE
    # to a millionth: 34.6 - 34.4 is above 0.2 in binary
    if abs(ours - printed) <= tolerance(sd) + 1e-6:
        return AS_PRINTED
    return HIGHER if ours > printed else LOWER
