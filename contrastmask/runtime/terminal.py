"""Text on its way to a terminal, where a label may hold escape sequences or rich's markup; tables in markdown."""

import io
import sys
import unicodedata
from collections.abc import Sequence

from rich.markup import escape


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
