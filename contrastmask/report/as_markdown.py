"""A table as markdown that reads well both rendered and raw in a terminal: aligned, 160 characters wide or less."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from contrastmask.report.paper import METRICS
from contrastmask.report.view import Block, Line, View

WIDTH = 120  # of paragraphs; the widest table, two settings side by side, needs 160


def to_markdown(view: View) -> str:
    """The whole file, ending with a newline."""
    parts = [
        f"# {escape(view.heading)}",
        _paragraph(view.caption),
        f"**{escape(' · '.join(view.facts))}**",
        _paragraph(view.note),
        _paragraph(view.caveat, "> "),
        _table(view),
        _paragraph(view.legend),
        *(_paragraph(remark, "- ") for remark in view.unreadable),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """`text` as literal markdown on one line, inside a table cell too."""
    one_line = " ".join(text.split())
    special = re.sub(r"([\\`*\[\]<>|~$#&])", r"\\\1", one_line)
    # An underscore inside a word, as in cl_convs, is literal without help.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", special)


def _paragraph(text: str, prefix: str = "") -> str:
    lines = textwrap.wrap(escape(text), WIDTH, break_long_words=False, break_on_hyphens=False)
    hanging = prefix if prefix == "> " else " " * len(prefix)
    return "\n".join((hanging if i else prefix) + _no_list(line) for i, line in enumerate(lines))


def _no_list(line: str) -> str:
    """Keep a line that starts with -, +, = or "1." from becoming a list or a heading."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line)


def _table(view: View) -> str:
    rows = _heads(view) + [row for block in view.blocks for row in _block(block, view)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    rule = "|".join(_rule(i, width) for i, width in enumerate(widths))
    lines = [_row(row, widths) for row in rows]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _heads(view: View) -> list[list[str]]:
    """One row; where settings stand side by side a second one, which markdown takes for the first of the body."""
    if len(view.settings) == 1:
        return [[view.columns[0], "", *METRICS]]
    metrics = [" · ".join(view.columns[1:]), "", *METRICS * len(view.settings)]
    return [[view.columns[0], "", *_setting_heads(view)], metrics]


def _setting_heads(view: View) -> list[str]:
    """Each setting's name over its six columns: broken at the arrow over the first two, to keep these narrow."""
    heads = []
    for setting in view.settings:
        base, arrow, novel = setting.partition(" → ")
        pair = [base, f"→ {novel}"] if arrow else [setting, ""]
        heads += [*map(escape, pair), *[""] * (len(METRICS) - 2)]
    return heads


def _block(block: Block, view: View) -> list[list[str]]:
    """The system's description runs down the first column beside its lines of numbers."""
    description = [block.lead[0], *([" · ".join(block.lead[1:])] if block.lead[1:] else []), *block.remarks]
    empty = [""] * (1 + len(METRICS) * len(view.settings))
    rows = []
    for text, line in zip_longest(description, block.lines):
        numbers = _numbers(line, view.comparable) if line else empty
        rows.append([escape(text or ""), *numbers])
    return rows


def _numbers(line: Line, comparable: bool) -> list[str]:
    cells = [line.kind, *line.cells]
    if line.kind == "diff" and not comparable:
        return [f"({cell})" if cell else "" for cell in cells]
    return cells


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(cell + space if i < 2 else space + cell)
    return f"| {' | '.join(padded)} |"


def _rule(column: int, width: int) -> str:
    return "-" * (width + 2) if column < 2 else "-" * (width + 1) + ":"


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
