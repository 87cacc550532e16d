"""What the paper prints, its names for methods, backbones and settings, and how a measured number agrees with it."""

import csv
import math
import re
from dataclasses import dataclass
from functools import cache

from contrastmask import paths
from contrastmask.config.rows import Row, read_names

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
KEYS = ("table", "setting", "method", "variant", "backbone", "schedule", "mask_layers")

_PRINTED_AS = dict(zip(METRICS, ("mAP", "AP50", "AP75", "APS", "APM", "APL"), strict=True))
_TABLES_OF_PAPER = re.compile(r"table([1-7])")


def name(kind: str, id: str) -> str:
    """The printed name of `id`, one of the `methods`, `backbones` or `settings`; `id` itself if it has none."""
    return read_names()[kind].get(id, {}).get("name", id)


def link(method: str) -> str | None:
    """Where the method with this printed name comes from, if that is known."""
    by_name = {entry["name"]: entry.get("link") for entry in read_names()["methods"].values()}
    return by_name.get(method)


def is_reconstruction(method: str) -> bool:
    """Whether the method with this id was rebuilt here without its authors' code."""
    return bool(read_names()["methods"].get(method, {}).get("reconstruction"))


def keys(row: Row) -> dict[str, str]:
    """The key columns of `row` as paper_tables.csv spells them; `table` is the file stem for a user's own table."""
    of_paper = _TABLES_OF_PAPER.fullmatch(row.table)
    return {
        "table": of_paper[1] if of_paper else row.table,
        "setting": row.setting,
        "method": name("methods", row.method),
        "variant": row.label,
        "backbone": name("backbones", row.backbone),
        "schedule": row.schedule,
        "mask_layers": "" if row.mask_layers is None else str(row.mask_layers),
    }


def printed(row: Row) -> dict[str, float | None] | None:
    """The printed metrics of `row`, in percent as printed; None if the paper has no such row.

    A value is None where the paper prints a dash.
    """
    return _numbers().get(tuple(keys(row).values()))


@cache
def _numbers() -> dict[tuple[str, ...], dict[str, float | None]]:
    found: dict[tuple[str, ...], dict[str, float | None]] = {}
    for path in sorted((paths.CONFIGS / "paper").glob("*_tables.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found |= {tuple(line[key] for key in KEYS): _metrics(line) for line in csv.DictReader(file)}
    return found


def _metrics(line: dict[str, str]) -> dict[str, float | None]:
    return {ours: float(line[theirs]) if line[theirs] else None for ours, theirs in _PRINTED_AS.items()}


# ---------------------------------------------------------------------------- ours and theirs

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


def tolerance(sd: float) -> float:
    """AP that two equal systems may lie apart: the authors' noise, or 2 sd over our seeds where that is more."""
    return AUTHORS_NOISE if math.isnan(sd) else max(AUTHORS_NOISE, 2 * sd)


def agreement(ours: float, printed: float, sd: float) -> Agreement:
    """Compare a mean over seeds with the printed number.

    Args:
        ours, printed: AP x 100; NaN where there is none.
        sd: sample standard deviation over the seeds, NaN for fewer than two.
    """
    if math.isnan(ours):
        return UNMEASURED
    if math.isnan(printed):
        return UNPRINTED
    # to a millionth: 34.6 - 34.4 is above 0.2 in binary
    if abs(ours - printed) <= tolerance(sd) + 1e-6:
        return AS_PRINTED
    return HIGHER if ours > printed else LOWER
