"""Text from files on its way to a terminal: a label may hold escape sequences, or what rich takes for markup."""

import io
import sys
import unicodedata

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
