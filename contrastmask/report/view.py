"""What a person sees of a table, before any format: headings, facts, and a block of lines for each system.

Columns that hold one value throughout are said once, in the facts; settings stand side by side, as the paper
prints them. Numbers are text here, rounded to the printed 0.1.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from contrastmask.report import paper
from contrastmask.report.paper import METRICS

if TYPE_CHECKING:
    from contrastmask.config import Table

# "here", not "ours": the paper calls its own method so.
Kind = Literal["here", "sd", "paper", "diff"]
KINDS: dict[Kind, str] = {
    "here": "mean over the finished seeds",
    "sd": "sample standard deviation over them",
    "paper": "as printed",
    "diff": "here - paper",
}
_COLUMN_OF = {"here": "{}", "sd": "{}_sd", "paper": "paper_{}", "diff": "diff_{}"}
_LEADS = {"backbone": "Backbone", "schedule": "Sche.", "mask_layers": "Layers", "preset": "Preset"}
NOTHING = "–"

Record = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of numbers: len(settings) x 6 cells."""

    kind: Kind
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One system, once for all settings."""

    lead: tuple[str, ...]
    """As many as the view's columns; the first names the system."""
    link: str | None
    """Where the method comes from, if the lead names a method with a known source."""
    remarks: tuple[str, ...]
    """Its notes, and what is not `ok` about it."""
    lines: tuple[Line, ...]


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
    """What the scale says about itself."""
    caveat: str
    """Why differences mean nothing here; "" where they do."""
    columns: tuple[str, ...]
    settings: tuple[str, ...]
    """Display names; their metrics stand side by side."""
    blocks: tuple[Block, ...]
    legend: str
    unreadable: tuple[str, ...]

    @property
    def heading(self) -> str:
        return f"{self.number}. {self.title}" if self.number else self.title

    @property
    def comparable(self) -> bool:
        return not self.caveat


@dataclass(frozen=True)
class _Shape:
    """Which columns a table needs."""

    settings: tuple[str, ...]
    varying: tuple[str, ...]
    """Columns of _LEADS with more than one value."""
    by_label: bool
    """Rows are variants of one method, so that the label alone names them."""


def view(table: "Table", frame: pd.DataFrame, scale: dict[str, Any], seeds: Sequence[int]) -> View:
    """Lay out `frame`, as tables.build made it from `table`."""
    records: list[Record] = frame.to_dict("records")
    shape = _shape(records)
    blocks = tuple(_block(system, shape) for system in systems(records))
    numbered = re.fullmatch(r"table(\d+)", table.name)
    return View(
        name=table.name,
        number=f"Table {numbered[1]}" if numbered else "",
        title=table.title,
        caption=table.caption,
        facts=_facts(records[0], shape, scale["name"], seeds),
        note=scale["note"],
        caveat="" if scale["comparable"] else _caveat(scale["name"], blocks),
        columns=("Variant" if shape.by_label else "Method", *(_LEADS[column] for column in shape.varying)),
        settings=tuple(paper.name("settings", setting) for setting in shape.settings),
        blocks=blocks,
        legend=_legend(blocks),
        unreadable=tuple(dict.fromkeys(r["status"] for r in records if r["status"].startswith("unreadable"))),
    )


def _shape(records: list[Record]) -> _Shape:
    return _Shape(
        settings=tuple(dict.fromkeys(record["setting"] for record in records)),
        varying=tuple(column for column in _LEADS if len({record[column] for record in records}) > 1),
        by_label=len({record["method"] for record in records}) == 1 and all(r["variant"] for r in records),
    )


def _legend(blocks: Sequence[Block]) -> str:
    kinds = {line.kind for block in blocks for line in block.lines}
    meanings = [f"{kind}: {meaning}" for kind, meaning in KINDS.items() if kind in kinds]
    return f"Mask AP x 100 on novel categories. {'; '.join(meanings)}."


def _caveat(scale: str, blocks: Sequence[Block]) -> str:
    reason = (
        f"Not comparable with the paper: these numbers were made at the scale {scale}, the printed ones by full"
        " training on COCO."
    )
    has_differences = any(line.kind == "diff" for block in blocks for line in block.lines)
    return reason + " The differences, in parentheses, say nothing about the reproduction." * has_differences


def _facts(record: Record, shape: _Shape, scale: str, seeds: Sequence[int]) -> tuple[str, ...]:
    """The scale first, then everything that is the same in all rows."""
    facts = [f"scale {scale}"]
    if "preset" not in shape.varying:
        facts.append(f"preset {record['preset']}")
    facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    if shape.by_label:
        facts.append(record["method"])
    facts += [record[column] for column in ("backbone", "schedule") if column not in shape.varying]
    if "mask_layers" not in shape.varying and record["mask_layers"]:
        facts.append(f"{record['mask_layers']} mask layers")
    if len(shape.settings) == 1:
        facts.append(paper.name("settings", shape.settings[0]))
    return tuple(facts)


def systems(records: list[Record]) -> list[dict[str, Record]]:
    """Group rows that differ in nothing but the setting: per system, its record of each setting; as View.blocks."""
    found: list[tuple[tuple[str, ...], dict[str, Record]]] = []
    for record in records:
        key = tuple(record[column] for column in ("method", "variant", *_LEADS))
        # A user may give two rows the same label: they stay two systems.
        for known, system in found:
            if known == key and record["setting"] not in system:
                system[record["setting"]] = record
                break
        else:
            found.append((key, {record["setting"]: record}))
    return [system for _, system in found]


def _block(system: dict[str, Record], shape: _Shape) -> Block:
    record = next(iter(system.values()))
    method, variant = record["method"], record["variant"]
    with_variant = f"{method} ({variant})" if variant else method
    lines = (_line(kind, [system.get(setting) for setting in shape.settings]) for kind in KINDS)
    return Block(
        lead=(variant if shape.by_label else with_variant, *(record[column] or NOTHING for column in shape.varying)),
        link=None if shape.by_label else paper.link(method),
        remarks=_remarks(system),
        lines=tuple(line for line in lines if line.kind == "here" or any(c not in ("", NOTHING) for c in line.cells)),
    )


def _remarks(system: dict[str, Record]) -> tuple[str, ...]:
    """Notes, then statuses other than ok."""
    notes = {setting: record["note"] for setting, record in system.items()}
    statuses = {setting: _short(record["status"]) for setting, record in system.items()}
    return (*_once(notes), *_once({setting: "" if s == "ok" else s for setting, s in statuses.items()}))


def _once(texts: dict[str, str]) -> tuple[str, ...]:
    """The texts of each setting that are not empty, with the setting only where settings differ."""
    if len(set(texts.values())) == 1:
        return tuple(filter(None, set(texts.values())))
    return tuple(f"{setting}: {text}" for setting, text in texts.items() if text)


def _short(status: str) -> str:
    """A status that fits under a name; View.unreadable names the files."""
    partial = re.fullmatch(r"partial \((.*)\)", status)
    return partial[1] if partial else status.partition(":")[0]


def _line(kind: Kind, records: Sequence[Record | None]) -> Line:
    columns = [_COLUMN_OF[kind].format(metric) for metric in METRICS]
    texts = (_text(kind, record[column] if record else None) for record in records for column in columns)
    return Line(kind, tuple(texts))


def _text(kind: Kind, value: float | None) -> str:
    if value is None or pd.isna(value):
        return NOTHING if kind in ("here", "paper") else ""
    return f"{value:+.1f}" if kind == "diff" else f"{value:.1f}"
