"""The one model of a table that every format shows: headings, facts, and a block of cells for each system.

Columns that hold one value throughout are said once, in the facts; settings stand side by side, as the paper prints
them. At a comparable scale a cell holds our number, the printed one and the difference; at any other the printed AP
stands in a column of its own, and nothing is compared.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from contrastmask.config import Table
from contrastmask.report import paper
from contrastmask.report.paper import METRICS, Agreement, agreement
from contrastmask.report.tables import IOU
from contrastmask.runtime.terminal import NOTHING, number

Line = dict[str, Any]
"""One of what tables.build made: a row of a table."""

# "here", not "ours": the paper calls its own method so.
KINDS = {
    "here": "mean over the finished seeds",
    "sd": "sample standard deviation over them",
    "paper": "as printed",
    "diff": "here - paper",
}
PRINTED = "paper"
"""The column of printed AP at a scale that is not comparable."""
HEADS = {IOU: ("mask", "IoU"), PRINTED: ("paper,", "COCO")}
"""In two lines, where they are long."""
_LEADS = {"backbone": "Backbone", "schedule": "Sche.", "mask_layers": "Layers", "preset": "Preset"}


@dataclass(frozen=True)
class Cell:
    """One column of one row."""

    column: str
    """One of the METRICS, IOU or PRINTED."""
    here: float
    """Mean over the finished seeds; in the column PRINTED what is printed. NaN, as the others, where there is none."""
    sd: float
    paper: float
    diff: float
    agreement: Agreement | None
    """None where nothing is to be compared."""
    run: str
    n_seeds: int

    def text(self, kind: str) -> str:
        """What stands in the line of that kind, rounded to the printed 0.1."""
        value: float = getattr(self, kind)
        if math.isnan(value) and kind in ("sd", "diff"):
            return ""
        return number(value, "+.1f" if kind == "diff" else ".1f")


@dataclass(frozen=True)
class Block:
    """One system, once for all settings."""

    lead: tuple[str, ...]
    """As many as the view's columns; the first names the system."""
    link: str | None
    """Where the method comes from, if the lead names a method with a known source."""
    remarks: tuple[str, ...]
    """Its notes, and what is not `ok` about it."""
    cells: tuple[Cell | None, ...]
    """Setting by setting, as View.numbers; None where the table has no such row for a setting."""

    def lines(self, comparable: bool) -> list[tuple[str, list[str]]]:
        """The kinds of KINDS that hold anything, with the texts of all cells."""
        kinds = list(KINDS) if comparable else ["here", "sd"]
        lines = [(kind, [cell.text(kind) if cell else NOTHING for cell in self.cells]) for kind in kinds]
        return [line for line in lines if line[0] == "here" or any(text not in ("", NOTHING) for text in line[1])]


@dataclass(frozen=True)
class View:
    """A table ready to be laid out. All text is raw: each format escapes it."""

    name: str
    number: str
    """"Table 4", or "" for a table without a number."""
    title: str
    caption: str
    facts: tuple[str, ...]
    note: str
    """What the scale is for, in its own words."""
    comparable: bool
    columns: tuple[str, ...]
    """Headings of the leads."""
    settings: tuple[str, ...]
    """Display names; their numbers stand side by side."""
    numbers: tuple[str, ...]
    """Columns of each setting."""
    blocks: tuple[Block, ...]
    legend: str
    unreadable: tuple[str, ...]
    lines: tuple[Line, ...]
    """Of tables.build."""

    @property
    def heads(self) -> list[tuple[str, str]]:
        """Headings of `numbers`, each in two lines, of which the first may be empty."""
        return [HEADS.get(column, ("", column)) for column in self.numbers]

    @property
    def heading(self) -> str:
        return f"{self.number}. {self.title}" if self.number else self.title


def lay_out(table: Table, results: pd.DataFrame, scale: dict[str, Any], seeds: Sequence[int]) -> View:
    """Lay out what tables.build made from `table`."""
    lines: list[Line] = results.to_dict("records")
    numbers = METRICS if scale["comparable"] else (*METRICS, IOU)
    if not scale["comparable"] and results["paper_AP"].notna().any():
        numbers = (*numbers, PRINTED)
    settings = tuple(results["setting"].unique())
    varying = [column for column in _LEADS if results[column].nunique() > 1]
    by_label = results["method"].nunique() == 1 and all(results["variant"])
    numbered = re.fullmatch(r"table(\d+)", table.name)
    blocks = [
        Block(
            lead=(_named(first := next(iter(system.values())), by_label), *(first[c] or NOTHING for c in varying)),
            link=None if by_label else paper.link(first["method"]),
            remarks=_remarks(system),
            cells=tuple(_cell(system.get(setting), column, scale) for setting in settings for column in numbers),
        )
        for system in grouped(lines)
    ]
    return View(
        name=table.name,
        number=f"Table {numbered[1]}" if numbered else "",
        title=table.title,
        caption=table.caption,
        facts=_facts(lines[0], settings, varying, by_label, seeds),
        note=scale["note"],
        comparable=scale["comparable"],
        columns=("Variant" if by_label else "Method", *(_LEADS[column] for column in varying)),
        settings=tuple(paper.name("settings", setting) for setting in settings),
        numbers=numbers,
        blocks=tuple(blocks),
        legend=_legend(blocks, scale["comparable"], PRINTED in numbers),
        unreadable=tuple(dict.fromkeys(line["status"] for line in lines if line["status"].startswith("unreadable"))),
        lines=tuple(lines),
    )


def _named(line: Line, by_label: bool) -> str:
    method, variant = line["method"], line["variant"]
    return variant if by_label else f"{method} ({variant})" if variant else method


def _cell(line: Line | None, column: str, scale: dict[str, Any]) -> Cell | None:
    if line is None:
        return None
    of_run = {"run": line["run"], "n_seeds": line["n_seeds"]}
    if column == PRINTED:
        return Cell(column, line["paper_AP"], math.nan, math.nan, math.nan, None, **of_run)
    here, sd = line[column], line[f"{column}_sd"]
    printed, diff = (line.get(f"{kind}_{column}", math.nan) for kind in ("paper", "diff"))  # none is printed of IoU
    judged = agreement(here, printed, sd) if scale["comparable"] else None
    return Cell(column, here, sd, printed, diff, judged, **of_run)


def _legend(blocks: Sequence[Block], comparable: bool, printed: bool) -> str:
    kinds = {kind for block in blocks for kind, _ in block.lines(comparable)}
    meanings = [f"{kind}: {meaning}" for kind, meaning in KINDS.items() if kind in kinds]
    said = f"Mask AP x 100 on novel categories. {'; '.join(meanings)}."
    if comparable:
        return said
    said = f"{said} mask IoU: mean x 100 in the true boxes of novel objects."
    if not printed:
        return said
    return (
        f"{said} paper, COCO: AP as printed, of full training on COCO, which these numbers are not to be compared with."
    )


def _facts(
    line: Line, settings: Sequence[str], varying: Sequence[str], by_label: bool, seeds: Sequence[int]
) -> tuple[str, ...]:
    """The scale first, then everything that is the same in all rows."""
    facts = [f"scale {line['scale']}"]
    if "preset" not in varying:
        facts.append(f"preset {line['preset']}")
    facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    if by_label:
        facts.append(line["method"])
    facts += [line[column] for column in ("backbone", "schedule") if column not in varying]
    if "mask_layers" not in varying and line["mask_layers"]:
        facts.append(f"{line['mask_layers']} mask layers")
    if len(settings) == 1:
        facts.append(paper.name("settings", settings[0]))
    return tuple(facts)


def grouped(lines: Sequence[Line]) -> list[dict[str, Line]]:
    """Rows that differ in nothing but the setting, together: per system, its line of each setting."""
    found: list[tuple[tuple[str, ...], dict[str, Line]]] = []
    for line in lines:
        key = tuple(line[column] for column in ("method", "variant", *_LEADS))
        setting = line["setting"]
        # A user may give two rows the same label: they stay two systems.
        system = next((s for known, s in found if known == key and setting not in s), None)
        if system is None:
            found.append((key, system := {}))
        system[setting] = line
    return [system for _, system in found]


def _remarks(system: dict[str, Line]) -> tuple[str, ...]:
    """Notes, then statuses other than ok."""
    statuses = {setting: "" if line["status"] == "ok" else _short(line["status"]) for setting, line in system.items()}
    return (*_once({setting: line["note"] for setting, line in system.items()}), *_once(statuses))


def _once(texts: dict[str, str]) -> tuple[str, ...]:
    """The texts of each setting that are not empty, with the setting only where settings differ."""
    if len(set(texts.values())) == 1:
        return tuple(filter(None, set(texts.values())))
    return tuple(f"{setting}: {text}" for setting, text in texts.items() if text)


def _short(status: str) -> str:
    """A status that fits under a name; View.unreadable names the files."""
    partial = re.fullmatch(r"partial \((.*)\)", status)
    return partial[1] if partial else status.partition(":")[0]
