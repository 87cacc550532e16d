"""A table's rows with what was measured and what is printed, from metrics.json files: a data frame, and its csv."""

import logging
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from contrastmask.config import Row, Table
from contrastmask.paths import run_folder
from contrastmask.report import paper
from contrastmask.report.paper import KEYS, METRICS
from contrastmask.report.run_files import METRICS_FILE, read_run_files

log = logging.getLogger(__name__)

IOU = "IoU"
"""Mean mask IoU in true boxes, beside the METRICS."""
MEASURED = (*METRICS, IOU)
INSTEAD = {"novel box AP": ("bbox", "novel"), "base mask AP": ("segm", "base")}
"""What a row can say where val has no masks of novel categories."""
OURS = (*MEASURED, *(f"{name}_sd" for name in MEASURED))
THEIRS = (*(f"paper_{metric}" for metric in METRICS), *(f"diff_{metric}" for metric in METRICS))
COLUMNS = (*KEYS, *OURS, "n_seeds", *THEIRS, "scale", "preset", "run", "status", "note")


def build(table: Table, results: Path, scale: dict[str, Any], seeds: Sequence[int], preset: str) -> pd.DataFrame:
    """A line for each row of `table`, in its order, with COLUMNS.

    The row's KEYS as the paper prints them; OURS, mean and sample standard deviation over the finished seeds; THEIRS,
    what is printed, and at a scale that is `comparable` the mean minus that. Numbers are x 100, unrounded, NaN where
    there is none. `run` is the id of the run behind the row, "" where the system is not implemented.

    `scale` has `name`, `note` and `comparable`; `preset` is that of rows without a run. Files that cannot be read
    are logged and named in `status`; this never raises for what is missing or damaged under `results`.
    """
    measured = {run: read_run(results, scale["name"], run.id, seeds) for run in table.runs}
    lines = [_line(row, measured[row.run] if row.run else Measured(), len(seeds), preset) for row in table.rows]
    frame = pd.DataFrame(lines, columns=list(COLUMNS)).assign(scale=scale["name"])
    frame = frame.astype(dict.fromkeys((*OURS, *THEIRS), float))
    if scale["comparable"]:
        for metric in METRICS:
            frame[f"diff_{metric}"] = frame[metric] - frame[f"paper_{metric}"]
    return frame


def to_csv(results: pd.DataFrame) -> str:
    """What `build` made, as text."""
    text: str = results.to_csv(index=False, lineterminator="\n")
    return text


# ---------------------------------------------------------------------------- what the seeds of a run measured


class Measured(NamedTuple):
    """What the seeds of a run have measured so far."""

    finished: tuple[dict[str, float], ...] = ()
    """Of each: MEASURED and INSTEAD, x 100; NaN where nothing could be measured."""
    unreadable: tuple[str, ...] = ()
    """Files, relative to the result folder."""

    def mean(self, name: str) -> float:
        """NaN without seeds, and where one has no value: a mean over fewer seeds than were finished would hide it."""
        return statistics.fmean(seed[name] for seed in self.finished) if self.finished else math.nan

    def sd(self, name: str) -> float:
        """Sample standard deviation; NaN for fewer than two seeds."""
        several = len(self.finished) > 1 and not math.isnan(self.mean(name))
        return statistics.stdev(seed[name] for seed in self.finished) if several else math.nan


def read_run(results: Path, scale: str, run: str, seeds: Iterable[int]) -> Measured:
    """Read what the seeds of `run` have measured. A file that cannot be used is logged and listed."""
    finished, unreadable = [], []
    for seed in seeds:
        files = read_run_files(run_folder(results / scale, run, seed), [METRICS_FILE])
        if METRICS_FILE in files.problems:
            file, problem = files.folder / METRICS_FILE, files.problems[METRICS_FILE]
            log.warning("%s cannot be used, the table goes without it: %s", file, problem)
            unreadable.append(file.relative_to(results).as_posix())
        elif files.metrics:
            finished.append(_of_seed(files.metrics))
    return Measured(tuple(finished), tuple(unreadable))


def _of_seed(metrics: dict[str, Any]) -> dict[str, float]:
    instead = {name: metrics.get(kind, {}).get(of, {}).get("AP") for name, (kind, of) in INSTEAD.items()}
    found = metrics["segm"]["novel"] | {IOU: metrics.get("gt_box_miou", {}).get("novel")} | instead
    return {name: math.nan if value is None else 100 * value for name, value in found.items()}


# ---------------------------------------------------------------------------- a row


def _line(row: Row, found: Measured, n_seeds: int, preset: str) -> dict[str, Any]:
    printed = paper.printed(row) or {}
    own = row.run.preset if row.run else preset
    return (
        paper.keys(row)
        | {name: found.mean(name) for name in MEASURED}
        | {f"{name}_sd": found.sd(name) for name in MEASURED}
        | {f"paper_{metric}": value for metric, value in printed.items()}
        | {
            "n_seeds": len(found.finished),
            "preset": preset if own == "both" else own,  # one that is the same in both stands in the table's
            "run": row.run.id if row.run else "",
            "status": _status(found, n_seeds) if row.run else "not implemented",
            "note": "; ".join(_notes(row)),
        }
    )


def _notes(row: Row) -> list[str]:
    """What must be known of a row whatever it measured."""
    notes = {
        "reconstruction": paper.is_reconstruction(row.method),
        "uses novel masks": row.run is not None and row.run.uses_novel_masks,
    }
    return [note for note, applies in notes.items() if applies]


def _status(found: Measured, n_seeds: int) -> str:
    if found.unreadable:
        return "unreadable: " + ", ".join(found.unreadable)
    finished = len(found.finished)
    if finished < n_seeds:
        return f"partial ({finished} of {n_seeds} seeds)" if finished else "not run"
    return _without_novel_masks(found) if all(math.isnan(seed["AP"]) for seed in found.finished) else "ok"


def _without_novel_masks(found: Measured) -> str:
    """Why a row has no mask AP, and what it has."""
    instead = {name: found.mean(name) for name in INSTEAD}
    said = ", ".join(f"{name} {value:.1f}" for name, value in instead.items() if not math.isnan(value))
    return "no novel masks in val" + (f" ({said})" if said else "")
