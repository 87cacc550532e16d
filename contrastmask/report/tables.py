"""Tables from metrics.json files: our numbers, the printed ones and the difference, as csv, md, html and tex."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from contrastmask.report import paper
from contrastmask.report.as_html import to_html
from contrastmask.report.as_markdown import to_markdown
from contrastmask.report.as_tex import to_tex
from contrastmask.report.measured import Measured, read_run
from contrastmask.report.paper import KEYS, METRICS
from contrastmask.report.view import view
from contrastmask.runtime.files import atomic_writer

if TYPE_CHECKING:
    from contrastmask.config import Row, Table

_NUMBERS = (
    *METRICS,
    *(f"{metric}_sd" for metric in METRICS),
    *(f"paper_{metric}" for metric in METRICS),
    *(f"diff_{metric}" for metric in METRICS),
)
_OURS = 2 * len(METRICS)
COLUMNS = (*KEYS, *_NUMBERS[:_OURS], "n_seeds", *_NUMBERS[_OURS:], "scale", "preset", "run", "status", "note")


def build(table: "Table", results: Path, scale: dict[str, Any], seeds: Sequence[int], preset: str) -> pd.DataFrame:
    """One line a row of `table`, in its order, with COLUMNS. AP in percent, unrounded; NaN where there is none.

    `scale` has `name`, `note` and `comparable`; `preset` is that of rows without a run. Files that cannot be read
    are logged and named in `status`; this never raises for what is missing or damaged under `results`.
    """
    measured = {run: read_run(results, scale["name"], run.id, seeds) for run in table.runs}
    lines = [_line(row, measured[row.run] if row.run else None, len(seeds)) for row in table.rows]
    frame = pd.DataFrame(lines).assign(scale=scale["name"])
    frame["preset"] = [_preset(row, preset) for row in table.rows]
    return frame[list(COLUMNS)].astype(dict.fromkeys(_NUMBERS, float))


def write(
    table: "Table",
    frame: pd.DataFrame,
    results: Path,
    scale: dict[str, Any],
    seeds: Sequence[int],
    folder: str = "tables",
) -> list[Path]:
    """Write `frame` as results/<scale>/<folder>/<table>.{csv,md,html,tex}; return the four paths."""
    shown = view(table, frame, scale, seeds)
    content = {
        "csv": frame.to_csv(index=False, lineterminator="\n"),
        "md": to_markdown(shown),
        "html": to_html(shown),
        "tex": to_tex(shown),
    }
    paths = [results / scale["name"] / folder / f"{table.name}.{suffix}" for suffix in content]
    for path, text in zip(paths, content.values(), strict=True):
        with atomic_writer(path) as file:
            file.write(text)
    return paths


def _line(row: "Row", measured: Measured | None, n_seeds: int) -> dict[str, Any]:
    line: dict[str, Any] = {**paper.keys(row), "run": row.run.id if row.run else ""}
    line |= {"status": _status(measured, n_seeds), "n_seeds": len(measured.seeds) if measured else 0}
    line["note"] = "; ".join(_notes(row))
    theirs = paper.printed(row) or dict.fromkeys(METRICS)
    for metric in METRICS:
        ours, printed = measured.mean(metric) if measured else None, theirs[metric]
        line[metric] = ours
        line[f"{metric}_sd"] = measured.sd(metric) if measured else None
        line[f"paper_{metric}"] = printed
        line[f"diff_{metric}"] = None if ours is None or printed is None else ours - printed
    return line


def _notes(row: "Row") -> list[str]:
    """What must be known of a row whatever it measured."""
    notes = {
        "reconstruction": paper.is_reconstruction(row.method),
        "uses novel masks": row.run is not None and row.run.uses_novel_masks,
    }
    return [note for note, applies in notes.items() if applies]


def _preset(row: "Row", preset: str) -> str:
    """A run that is the same in both presets stands in the table's own."""
    return row.run.preset if row.run and row.run.preset != "both" else preset


def _status(measured: Measured | None, n_seeds: int) -> str:
    if measured is None:
        return "not implemented"
    if measured.unreadable:
        return "unreadable: " + ", ".join(measured.unreadable)
    finished = len(measured.seeds)
    if finished == n_seeds:
        return "no novel masks in val" if all(seed["AP"] is None for seed in measured.seeds) else "ok"
    return f"partial ({finished} of {n_seeds} seeds)" if finished else "not run"
