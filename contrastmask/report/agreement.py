"""What a measured number says about the printed one: one word and one sign for a cell of a comparable scale."""

from dataclasses import dataclass

AUTHORS_NOISE = 0.2  # AP between runs of the authors' own code (their README)


@dataclass(frozen=True)
class Agreement:
    """How a cell is read. `sign` carries the same as the colour; `name` is the CSS class."""

    name: str
    sign: str
    text: str


AS_PRINTED = Agreement("same", "=", "as printed")
HIGHER = Agreement("higher", "▲", "higher than printed")
LOWER = Agreement("lower", "▼", "lower than printed")
UNPRINTED = Agreement("unprinted", "·", "nothing printed")
UNMEASURED = Agreement("missing", "–", "nothing measured")
AGREEMENTS = (AS_PRINTED, HIGHER, LOWER, UNPRINTED, UNMEASURED)


def tolerance(sd: float | None) -> float:
    """AP that two equal systems may lie apart: the authors' noise, or 2 sd over our seeds where that is more."""
    return max(AUTHORS_NOISE, 2 * (sd or 0.0))


def agreement(ours: float | None, printed: float | None, sd: float | None) -> Agreement:
    """Compare a mean over seeds with the printed number.

    Args:
        ours, printed: AP x 100; None where there is none.
        sd: sample standard deviation over the seeds, None for fewer than two.
    """
    if ours is None:
        return UNMEASURED
    if printed is None:
        return UNPRINTED
    # to a millionth: 34.6 - 34.4 is above 0.2 in binary
    if abs(ours - printed) <= tolerance(sd) + 1e-6:
        return AS_PRINTED
    return HIGHER if ours > printed else LOWER
