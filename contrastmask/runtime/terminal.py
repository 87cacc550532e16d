"""Text for people: numbers, names, tables in markdown, and labels on a terminal, which may hold escape sequences."""

import io
import math
import re
import sys
import unicodedata
from collections.abc import Sequence

from rich.markup import escape

NOTHING = "–"


def number(value: float | None, spec: str) -> str:
    """A number as format() writes it by `spec`, such as ".1f"; NOTHING for None and NaN."""
    return NOTHING if value is None or math.isnan(value) else format(value, spec)


def duration(seconds: float | None) -> str:
    """Two digits and the unit that fits: 45 s, 12 min, 3.4 h; NOTHING for None."""
    if seconds is None:
        return NOTHING
    unit, length = next(((u, n) for u, n in (("h", 3600), ("min", 60)) if seconds >= n), ("s", 1))
    value = seconds / length
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def natural(name: object) -> list[str | int]:
    """Key for sorting names as people count: frame_2 before frame_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", str(name))]


def lose_no_output() -> None:
    """Where the locale is not UTF-8, a character that it lacks is written out, and the process does not die of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def visible(text: str) -> str:
    """`text` with control and format characters, of which escape sequences are made, written out: \\x1b, \\u202e."""
    return "".join(_written_out(char) if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char for char in text)


def say(text: str, error: bool = False) -> None:
    """A line that names what files hold, on standard output or, as an `error`, on standard error."""
    print(visible(text), file=sys.stderr if error else sys.stdout, flush=True)


def literal(text: str) -> str:
    """`visible` text that rich prints as it is."""
    return escape(visible(text))


def _written_out(char: str) -> str:
    return char if char == "\n" else char.encode("unicode_escape").decode()


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table that also reads well in a terminal, without a newline at its end; the first `left` columns are text."""
    widths = [max(map(_width, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * (width + 2) if i < left else "-" * (width + 1) + ":" for i, width in enumerate(widths)]
    lines = []
    for cells in (head, *rows):
        spaces = [" " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
        padded = [c + s if i < left else s + c for i, (c, s) in enumerate(zip(cells, spaces, strict=True))]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
