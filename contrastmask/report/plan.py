"""What the wanted tables need: the distinct runs, which are done, which rows share them, and how long the rest takes.

A run takes as long as finished runs of the same system took at this scale, in the mean: the same but for setting and
seed. Where none has finished, as long as a few timed steps say (`plan --calibrate`); else its time is not known.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from contrastmask.config import RunSpec, Settings, Table, all_runs, config_hash, resolve
from contrastmask.config.runfile import rows_of
from contrastmask.runtime.terminal import duration, literal

Timer = Callable[[RunSpec], float]
"""Gives the seconds that a run will take, by timing a few steps of it."""


@dataclass(frozen=True)
class Planned:
    """One run with one seed."""

    run: RunSpec
    seed: int
    state: str
    """`done`, `begun` (it has a checkpoint, or is trained and not evaluated) or `to do`."""
    rows: tuple[str, ...]
    """The rows that share it, "table: label", or that read its boxes; where no row does, what it is for."""
    seconds: float | None
    """Of training and evaluation: taken if it is done, else expected; None if that is not known."""


def make_plan(settings: Settings, tables: dict[str, Table], timer: Timer | None = None) -> list[Planned]:
    """The runs of `tables` as things stand under results/<scale>. Reads files only; `timer` is asked where they end."""
    rows, taken = rows_of(tables.values(), "boxes for "), defaultdict(list)
    found: list[tuple[RunSpec, int, str]] = []
    data = read_json(settings.dataset).get("digest")
    for run in all_runs(tables).values():
        current = config_hash(resolve(run, settings))
        for seed in settings.seeds:
            folder = settings.run_folder(run.id, seed)
            state = run_state(folder, current, data, measured=run.id in rows)
            found.append((run, seed, state))
            if state == "done":
                taken[_system(run)].append(seconds_taken(folder))
    expected = {system: fmean(times) for system, times in taken.items()}
    if timer:
        for run, _, _ in found:
            if _system(run) not in expected and not run.detector:
                expected[_system(run)] = timer(run)
    return [
        Planned(run, seed, state, rows.get(run.id, ("first weights of other runs",)),
                seconds_taken(settings.run_folder(run.id, seed)) if state == "done" else expected.get(_system(run)))
        for run, seed, state in found
    ]  # fmt: skip


def _system(run: RunSpec) -> RunSpec:
    return replace(run, setting="", detector=None)


def run_state(folder: Path, config: str, data: str | None, measured: bool) -> str:
    """How far a run's folder is. Results of another configuration (its hash) or other data do not count.

    A run that no row shows, `measured` false, is trained for the others to start from, and not evaluated.
    """
    for name, state in (("metrics.json", "done"), ("train.json", "begun" if measured else "done")):
        record = read_json(folder / name)
        same_data = None in (data, then := record.get("data_digest")) or data == then
        if record.get("config_hash") == config and same_data:
            return state
    return "begun" if any(folder.glob("work/iter_*.pth")) else "to do"


def seconds_taken(folder: Path) -> float:
    """Of training, where there was one, and evaluation, as recorded."""
    found = (read_json(folder / name).get("seconds") for name in ("train.json", "metrics.json"))
    return sum(s for s in found if isinstance(s, int | float) and 0 <= s < math.inf)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in `file`; {} if there is none that can be read, since what is damaged is made again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def print_plan(plan: list[Planned], scale: str, console: Console) -> None:
    """A line for each run and seed, then what is left in sum."""
    table = Grid(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
    for column in ("run", "seed", "state", "time", "rows that share it"):
        table.add_column(column, overflow="fold", justify="right" if column == "time" else "left")
    for p in plan:
        table.add_row(*map(literal, (p.run.id, str(p.seed), p.state, duration(p.seconds), "; ".join(p.rows))))
    console.print(table)
    for line in ("", *summary(plan, scale)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def summary(plan: list[Planned], scale: str) -> Iterator[str]:
    """What is done, what is left, and how long that takes."""
    states, runs = Counter(p.state for p in plan), len({p.run.id for p in plan})
    shared = sum(len(p.rows) > 1 for p in plan)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    yield f"Scale {scale}: {runs} distinct runs, {len(plan)} with their seeds: {counted}. {shared} serve several rows."
    left = [p for p in plan if p.state != "done"]
    known = [p.seconds for p in left if p.seconds is not None]
    if known:
        yield (
            f"Left: {duration(sum(known))} for {len(known)} of {len(left)}, one after the other, as runs of the same"
            " system took. What is begun counts whole."
        )
    if len(known) < len(left):
        yield (
            f"How long {len(left) - len(known)} will take is not known: none of its system has finished at this scale."
            " `contrastmask plan --calibrate` times a few steps of each."
        )
