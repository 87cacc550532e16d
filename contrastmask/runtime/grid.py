"""A plain table as markdown, aligned so that it reads well in a terminal too, and as csv."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from contrastmask.runtime.files import atomic_writer

Cells = Sequence[Sequence[str]]


def markdown(head: Sequence[str], rows: Cells, left: int) -> str:
    """The table without a newline at its end; the first `left` columns are text, the others numbers."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    rule = [("-" * (width + 2) if i < left else "-" * (width + 1) + ":") for i, width in enumerate(widths)]
    return "\n".join([_line(head, widths, left), f"|{'|'.join(rule)}|", *(_line(row, widths, left) for row in rows)])


def write(
    folder: Path,
    name: str,
    notes: Sequence[str],
    head: Sequence[str],
    rows: Cells,
    left: int,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Write <folder>/<name>.md, with the notes as a list, and <name>.csv, with `facts` at each line's end.

    Returns the markdown.
    """
    facts = facts or {}
    text = "\n".join(f"- {note}" for note in notes) + f"\n\n{markdown(head, rows, left)}\n"
    with atomic_writer(folder / f"{name}.md") as file:
        file.write(text)
    with atomic_writer(folder / f"{name}.csv") as file:
        csv.writer(file, lineterminator="\n").writerows([[*head, *facts], *([*row, *facts.values()] for row in rows)])
    return text


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(width) if i < left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
