"""A table's rows with what was measured and what is printed, from metrics.json files; and as csv."""

import csv
import io
import json
import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastmask.config import Row, Table
from contrastmask.config.yamlfiles import check
from contrastmask.report import paper
from contrastmask.report.paper import KEYS, METRICS

log = logging.getLogger(__name__)

IOU = "IoU"
"""Mean mask IoU in true boxes, beside the METRICS."""
INSTEAD = {"box AP": ("bbox", "novel"), "base mask AP": ("segm", "base")}
"""What a row can say where val has no masks of novel categories."""
MEASURED = (*METRICS, IOU)
COLUMNS = (
    *KEYS, *MEASURED, *(f"{name}_sd" for name in MEASURED), "n_seeds",
    *(f"paper_{metric}" for metric in METRICS), *(f"diff_{metric}" for metric in METRICS),
    "scale", "preset", "run", "status", "note",
)  # fmt: skip


# ---------------------------------------------------------------------------- what the seeds of a run measured


@dataclass(frozen=True)
class Measured:
    """METRICS, IOU and INSTEAD of the seeds that could be read, and the files that could not."""

    seeds: tuple[dict[str, float | None], ...]
    """Per finished seed, fractions in [0, 1]; None where nothing could be measured."""
    unreadable: tuple[str, ...] = ()
    """Paths relative to the result folder."""

    def mean(self, metric: str) -> float | None:
        """Mean over the finished seeds, times 100; None if a seed has no value."""
        values = self._values(metric)
        return statistics.fmean(values) if values else None

    def sd(self, metric: str) -> float | None:
        """Sample standard deviation over the finished seeds, times 100; None for fewer than two."""
        values = self._values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def _values(self, metric: str) -> list[float]:
        # Seeds share the validation images, so a metric is missing for all or for none; a mix would be an error
        # somewhere, and a mean over fewer seeds than n_seeds says would hide it.
        values = [seed[metric] for seed in self.seeds]
        return [100 * value for value in values if value is not None] if None not in values else []


def read_run(results: Path, scale: str, run: str, seeds: Iterable[int]) -> Measured:
    """Read what the seeds of `run` have measured so far. A file that cannot be used is logged and listed."""
    found, unreadable = [], []
    for seed in seeds:
        file = results / scale / "runs" / run / f"seed{seed}" / "metrics.json"
        if not file.exists():
            continue
        try:
            found.append(_novel(file, {"scale": scale, "run": run, "seed": seed}))
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s cannot be used, the table goes without it: %s", file, error)
            unreadable.append(file.relative_to(results).as_posix())
    return Measured(tuple(found), tuple(unreadable))


def _novel(file: Path, expected: dict[str, Any]) -> dict[str, float | None]:
    content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    check(content, "metrics", file.name)
    for key, value in expected.items():
        if content.get(key) != value:
            raise ValueError(f"its {key} is {content.get(key)!r}, not {value!r}")
    try:
        novel = {metric: content["segm"]["novel"][metric] for metric in METRICS}
    except KeyError as error:
        raise ValueError(f"it has no {error} of segm.novel") from None
    instead = {name: content.get(kind, {}).get(of, {}).get("AP") for name, (kind, of) in INSTEAD.items()}
    return novel | instead | {IOU: content.get("gt_box_miou", {}).get("novel")}


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no fraction")


# ---------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class Number:
    """A metric of a row, x 100, unrounded; None where there is none."""

    ours: float | None = None
    """Mean over the finished seeds."""
    sd: float | None = None
    printed: float | None = None
    comparable: bool = True

    @property
    def diff(self) -> float | None:
        """Ours minus the printed one; None where the two must not be compared."""
        if self.ours is None or self.printed is None or not self.comparable:
            return None
        return self.ours - self.printed


@dataclass(frozen=True)
class Result:
    """A row of a table: what it is, what was measured, and what is printed."""

    keys: dict[str, str]
    """KEYS, as the paper prints them."""
    numbers: dict[str, Number]
    """Of each in MEASURED; the paper prints no IoU."""
    n_seeds: int
    scale: str
    preset: str
    run: str
    """Id of the run behind it; "" where the system is not implemented."""
    status: str
    note: str
    """What must be known of it whatever it measured."""


def build(table: Table, results: Path, scale: dict[str, Any], seeds: Sequence[int], preset: str) -> list[Result]:
    """A result for each row of `table`, in its order.

    `scale` has `name`, `note` and `comparable`; `preset` is that of rows without a run. Files that cannot be read
    are logged and named in `status`; this never raises for what is missing or damaged under `results`.
    """
    measured = {run: read_run(results, scale["name"], run.id, seeds) for run in table.runs}
    return [
        Result(
            keys=paper.keys(row),
            numbers=_numbers(row, found := measured[row.run] if row.run else None, scale["comparable"]),
            n_seeds=len(found.seeds) if found else 0,
            scale=scale["name"],
            # a run that is the same in both presets stands in the table's own
            preset=row.run.preset if row.run and row.run.preset != "both" else preset,
            run=row.run.id if row.run else "",
            status=_status(found, len(seeds)),
            note="; ".join(_notes(row)),
        )
        for row in table.rows
    ]


def _numbers(row: Row, found: Measured | None, comparable: bool) -> dict[str, Number]:
    printed = paper.printed(row) or {}
    ours = {name: (found.mean(name), found.sd(name)) if found else (None, None) for name in MEASURED}
    return {name: Number(*ours[name], printed.get(name), comparable) for name in MEASURED}


def _notes(row: Row) -> list[str]:
    notes = {
        "reconstruction": paper.is_reconstruction(row.method),
        "uses novel masks": row.run is not None and row.run.uses_novel_masks,
    }
    return [note for note, applies in notes.items() if applies]


def _status(measured: Measured | None, n_seeds: int) -> str:
    if measured is None:
        return "not implemented"
    if measured.unreadable:
        return "unreadable: " + ", ".join(measured.unreadable)
    finished = len(measured.seeds)
    if finished == n_seeds:
        return _without_novel_masks(measured) if all(seed["AP"] is None for seed in measured.seeds) else "ok"
    return f"partial ({finished} of {n_seeds} seeds)" if finished else "not run"


def _without_novel_masks(measured: Measured) -> str:
    """Why a row has no mask AP, and what it has."""
    instead = {name: measured.mean(name) for name in INSTEAD}
    said = ", ".join(f"{name} {value:.1f}" for name, value in instead.items() if value is not None)
    return "no novel masks in val" + (f" ({said})" if said else "")


def to_csv(results: Sequence[Result]) -> str:
    """A line a row with COLUMNS, numbers unrounded; diff_ is empty where the scale is not comparable."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in results:
        numbers = result.numbers
        writer.writerow(
            result.keys
            | {name: numbers[name].ours for name in MEASURED}
            | {f"{name}_sd": numbers[name].sd for name in MEASURED}
            | {f"paper_{name}": numbers[name].printed for name in METRICS}
            | {f"diff_{name}": numbers[name].diff for name in METRICS}
            | {key: getattr(result, key) for key in ("n_seeds", "scale", "preset", "run", "status", "note")}
        )
    return text.getvalue()
