"""A comparison of two runs for a terminal, a log or a browser: the same grids of text in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from contrastmask.evaluation.bootstrap import Interval
from contrastmask.report.compare import Comparison, Gain
from contrastmask.report.html import NOTHING, render
from contrastmask.runtime.terminal import literal, visible

SHOWN_IMAGES = 5  # at each end


@dataclass(frozen=True)
class Grid:
    """A titled grid of text, the first `left` columns words, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    gains: tuple[Interval | None, ...] = ()
    """Of each row, for a drawing; none where the grid is not of gains."""

    @property
    def reach(self) -> float:
        """The largest end of an interval: half the width of the drawings."""
        return max(0.001, *(abs(end) for gain in self.gains if gain for end in (gain.low, gain.high)), 0.001)


def percent(value: float | None) -> str:
    """A fraction times 100."""
    return NOTHING if value is None else f"{100 * value:.2f}"


def signed(value: float) -> str:
    """A difference of fractions times 100, with its sign."""
    return f"{100 * value:+.2f}" if value else "0.00"


def better(gain: Interval | None) -> str:
    """The run that is better, where the interval leaves out 0."""
    if gain is None or gain.low <= 0 <= gain.high:
        return ""
    return "B" if gain.value > 0 else "A"


def grids(comparison: Comparison) -> list[Grid]:
    """Everything that is shown; what holds nothing is left out."""
    config = tuple((d.key, d.a or NOTHING, d.b or NOTHING) for d in comparison.config)
    found = [
        Grid("Configuration, where it differs", ("key", "A", "B"), config, left=3),
        _of_gains(f"On {comparison.subset} categories", "metric", comparison.metrics),
        _of_gains("By object size: mask IoU in true boxes", "size", comparison.sizes),
        _of_gains("By category: mask AP", "category", comparison.category_ap),
        _of_gains("By category: mask IoU in true boxes", "category", comparison.category_iou),
    ]
    wins = {
        "B": [i for i in comparison.images if i.b > i.a][:SHOWN_IMAGES],
        "A": [i for i in reversed(comparison.images) if i.a > i.b][:SHOWN_IMAGES],
    }
    for side, images in wins.items():
        rows = tuple((str(i.id), i.file, str(i.objects), percent(i.a), percent(i.b), signed(i.b - i.a)) for i in images)
        title = f"Images where {side} gains most: mask IoU in true boxes"
        found.append(Grid(title, ("image", "file", "objects", "A", "B", "gain"), rows, left=2))
    return [grid for grid in found if grid.rows]


def _of_gains(title: str, first: str, gains: Sequence[Gain]) -> Grid:
    rows = []
    for g in gains:
        value, interval = (NOTHING, NOTHING)
        if g.gain:
            value, interval = signed(g.gain.value), f"[{signed(g.gain.low)}, {signed(g.gain.high)}]"
        rows.append((g.name, str(g.objects), percent(g.a), percent(g.b), value, interval, better(g.gain)))
    head = (first, "objects", "A", "B", "gain", "interval", "better")
    return Grid(title, head, tuple(rows), gains=tuple(g.gain for g in gains))


def notes(comparison: Comparison) -> list[str]:
    """What is compared, on what, and how; and that two configurations are the same."""
    seeds = ", ".join(map(str, comparison.seeds))
    said = [
        f"scale {comparison.scale['name']}, data {comparison.data}, seed{'s' * (len(comparison.seeds) > 1)} {seeds}",
        comparison.scale["note"],
        f"{comparison.method} Values times 100.",
    ]
    return said if comparison.config else [*said, "The two configurations are the same."]


def print_text(comparison: Comparison, console: Console) -> None:
    """Tables with rules and colour in a terminal, plain columns elsewhere."""
    for line in (f"A  {comparison.a}", f"B  {comparison.b}", *notes(comparison)):
        console.print(visible(line), highlight=False, markup=False, soft_wrap=True)
    style = box.SIMPLE_HEAD if console.is_terminal else None
    for grid in grids(comparison):
        table = Table(title=literal(grid.title), box=style, title_justify="left", pad_edge=False, title_style="bold",
                      show_edge=False)  # fmt: skip
        for place, column in enumerate(grid.head):
            table.add_column(column, justify="left" if place < grid.left else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*map(literal, row))
        console.print()
        console.print(table)


def to_html(comparison: Comparison) -> str:
    """One file that needs nothing else."""
    return render("compare.html.j2", content=page_content(comparison))


def page_content(comparison: Comparison) -> dict[str, Any]:
    """What the template's macro `comparison` shows."""
    return {"a": comparison.a, "b": comparison.b, "notes": notes(comparison), "grids": grids(comparison)}
