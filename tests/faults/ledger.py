"""What was injected, how often it was survived and how: results/reference/faults/faults.csv."""

import csv
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
from faults.harness import FULL

from contrastmask.paths import ROOT
from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.provenance import provenance

FILE = ROOT / "results" / "reference" / "faults" / "faults.csv"
PAGE = ROOT / "docs" / "reliability.md"


@dataclass
class Line:
    """One kind of fault."""

    fault: str
    injected: int
    survived: int
    how: str
    seed: int
    seconds: float
    commit: str
    cpu: str
    cores: str


class Ledger:
    """Collects the lines of a session; those of faults that it did not inject stay in the file."""

    def __init__(self) -> None:
        self.file: Path | None = None  # where `make faults` keeps the lines, after each fault
        drawn = time.time_ns() % 1_000_000 if FULL else 0  # `make test-all` injects the same every time
        self.seed = int(os.environ.get("CONTRASTMASK_FAULTS_SEED") or drawn)
        self.lines: dict[str, Line] = {}
        facts = provenance()
        changed = "+" if facts["git.dirty"] == "true" else ""
        self.facts = (facts["git.commit"][:12] + changed, facts["hw.cpu"], facts["hw.cores"])

    @contextmanager
    def injecting(self, fault: str, how: str, count: int = 1) -> Iterator[Line]:
        """`count` faults are injected within, or what is added to the line; all survived if nothing is raised."""
        line = self.lines.setdefault(fault, Line(fault, 0, 0, how, self.seed, 0.0, *self.facts))
        started = time.monotonic()
        before = line.injected
        line.injected += count
        try:
            yield line
            line.survived += line.injected - before
        finally:
            line.seconds = round(line.seconds + time.monotonic() - started, 1)
            if self.file:
                self.write(self.file)

    def write(self, file: Path) -> None:
        """Merge the lines into the file."""
        merged = {line["fault"]: line for line in read(file)} | {k: asdict(line) for k, line in self.lines.items()}
        with atomic_writer(file) as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Line)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(merged.values())


def read(file: Path = FILE) -> list[dict[str, str]]:
    """The lines of the file, as texts."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def as_markdown(lines: list[dict[str, str]]) -> str:
    """The table of docs/reliability.md; faults that are survived in the same way share a row."""
    table = pd.DataFrame(lines).astype({"injected": int, "survived": int})
    ways = table.groupby("how", sort=False).agg({"fault": "; ".join, "injected": "sum", "survived": "sum"})
    rows = [f"| {way.fault} | {way.injected} | {way.survived} | {way.Index} |" for way in ways.itertuples()]
    head = ["| fault | injected | survived | how |", "|---|---:|---:|---|"]
    return "\n".join([*head, *rows, f"| **all** | **{table.injected.sum()}** | **{table.survived.sum()}** | |"])


def update(page: Path) -> None:
    """Write the table into the page, between its two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition("faults.csv -->\n")
    after = rest[rest.index("<!-- end of figures -->") :]
    page.write_text(f"{before}faults.csv -->\n\n{as_markdown(read())}\n\n{after}", encoding="utf-8")


if __name__ == "__main__":
    update(PAGE)
