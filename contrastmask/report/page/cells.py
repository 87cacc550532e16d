"""A table of the report: its view, with a verdict and a run behind each number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from contrastmask.report.paper import METRICS
from contrastmask.report.verdict import Verdict, verdict
from contrastmask.report.view import Block, Record, View, systems, view

if TYPE_CHECKING:
    from contrastmask.config import Table


@dataclass(frozen=True)
class Cell:
    """One metric of one row. AP x 100; None where there is none."""

    metric: str
    ours: float | None
    sd: float | None
    printed: float | None
    diff: float | None
    verdict: Verdict
    run: str
    """Id of the run behind it; "" where the system is not implemented."""
    n_seeds: int


@dataclass(frozen=True)
class Line:
    """One system: its description and, setting by setting, its six cells."""

    block: Block
    cells: tuple[Cell | None, ...]
    """None where the table has no such row for a setting."""


@dataclass(frozen=True)
class Grid:
    """A table ready to be laid out."""

    view: View
    lines: tuple[Line, ...]
    records: tuple[Record, ...]
    """The rows as tables.build gives them."""


def grid(table: "Table", frame: pd.DataFrame, scale: dict[str, Any], seeds: Sequence[int]) -> Grid:
    """Lay out `frame`, as tables.build made it from `table`."""
    shown = view(table, frame, scale, seeds)
    records: list[Record] = frame.to_dict("records")
    settings = list(dict.fromkeys(record["setting"] for record in records))
    lines = []
    for block, system in zip(shown.blocks, systems(records), strict=True):
        cells: list[Cell | None] = []
        for setting in settings:
            record = system.get(setting)
            cells += [_cell(record, metric, scale["comparable"]) if record else None for metric in METRICS]
        lines.append(Line(block, tuple(cells)))
    return Grid(shown, tuple(lines), tuple(records))


def _cell(record: Record, metric: str, comparable: bool) -> Cell:
    names = {"ours": metric, "sd": f"{metric}_sd", "printed": f"paper_{metric}", "diff": f"diff_{metric}"}
    numbers = {name: _number(record[column]) for name, column in names.items()}
    judged = verdict(numbers["ours"], numbers["printed"], numbers["sd"], comparable)
    return Cell(metric=metric, verdict=judged, run=record["run"], n_seeds=record["n_seeds"], **numbers)


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
