"""What a measurement leaves: a table as markdown and csv, and on what it was made."""

import csv
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.terminal import markdown


def write(
    folder: Path,
    name: str,
    notes: Sequence[str],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
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


def stamp(facts: Mapping[str, str]) -> dict[str, str]:
    """Of `provenance()` what each line of a measurement's csv says: commit, state of the tree, Python, today's date."""
    return {
        "commit": facts["git.commit"][:12],
        "dirty": facts["git.dirty"],
        "python": facts["version.python"],
        "date": datetime.now(UTC).date().isoformat(),
    }
