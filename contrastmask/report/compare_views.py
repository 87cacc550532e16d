"""A comparison of two runs for a terminal, a log or a browser: the same grids of text in each."""

import math
from dataclasses import dataclass

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from contrastmask.report.compare import Comparison
from contrastmask.report.html import render
from contrastmask.runtime.terminal import NOTHING, literal, number, visible

SHOWN_IMAGES = 5  # at each end


@dataclass(frozen=True)
class Grid:
    """A titled grid of text, the first `left` columns words, the others numbers."""

    title: str
    text: pd.DataFrame
    left: int = 1
    gains: pd.DataFrame | None = None
    """What the text is of, for a drawing of its intervals; None where there are none."""

    @property
    def reach(self) -> float:
        """The largest end of an interval: half the width of the drawings."""
        ends = [0.001] if self.gains is None else [0.001, *self.gains[["low", "high"]].abs().max().dropna()]
        return max(ends)


def percent(value: float) -> str:
    """A fraction times 100."""
    return number(100 * value, ".2f")


def signed(value: float) -> str:
    """A difference of fractions times 100, with its sign."""
    return number(100 * value, "+.2f")


def grids(comparison: Comparison) -> list[Grid]:
    """Everything that is shown; what holds nothing is left out."""
    c, ahead = comparison, comparison.images["gain"]
    found = [
        Grid("Configuration, where it differs", c.config, left=3),
        _of_gains(f"On {c.subset} categories", c.metrics),
        _of_gains("By object size: mask IoU in true boxes", c.sizes),
        _of_gains("By category: mask AP", c.category_ap),
        _of_gains("By category: mask IoU in true boxes", c.category_iou),
        _of_images("Images where B gains most: mask IoU in true boxes", c.images[ahead > 0]),
        _of_images("Images where A gains most: mask IoU in true boxes", c.images[ahead < 0][::-1]),
    ]
    return [grid for grid in found if len(grid.text)]


def _of_gains(title: str, gains: pd.DataFrame) -> Grid:
    text = gains.iloc[:, :2].astype(str)
    text["A"], text["B"], text["gain"] = gains["A"].map(percent), gains["B"].map(percent), gains["gain"].map(signed)
    ends = zip(gains["low"], gains["high"], strict=True)
    text["interval"] = [NOTHING if math.isnan(low) else f"[{signed(low)}, {signed(high)}]" for low, high in ends]
    text["better"] = ""
    text.loc[gains["low"] > 0, "better"] = "B"
    text.loc[gains["high"] < 0, "better"] = "A"
    return Grid(title, text, gains=gains)


def _of_images(title: str, images: pd.DataFrame) -> Grid:
    first = images[:SHOWN_IMAGES]
    text = first.astype(str).assign(
        A=first["A"].map(percent), B=first["B"].map(percent), gain=first["gain"].map(signed)
    )
    return Grid(title, text, left=2)


def notes(comparison: Comparison) -> list[str]:
    """What is compared, on what, and how; and that two configurations are the same."""
    return [*comparison.notes, *([] if len(comparison.config) else ["The two configurations are the same."])]


def print_text(comparison: Comparison, console: Console) -> None:
    """Tables with rules and colour in a terminal, plain columns elsewhere."""
    for line in (f"A  {comparison.a}", f"B  {comparison.b}", *notes(comparison)):
        console.print(visible(line), highlight=False, markup=False, soft_wrap=True)
    style = box.SIMPLE_HEAD if console.is_terminal else None
    for grid in grids(comparison):
        table = Table(title=literal(grid.title), box=style, title_justify="left", pad_edge=False, title_style="bold",
                      show_edge=False)  # fmt: skip
        for place, column in enumerate(grid.text):
            table.add_column(column, justify="left" if place < grid.left else "right", overflow="fold")
        for row in grid.text.itertuples(index=False):
            table.add_row(*map(literal, row))
        console.print()
        console.print(table)


def to_html(comparison: Comparison) -> str:
    """One file that needs nothing else."""
    return render("compare.html.j2", content=page_content(comparison))


def page_content(comparison: Comparison) -> dict[str, object]:
    """What the template's macro `comparison` shows."""
    return {"a": comparison.a, "b": comparison.b, "notes": notes(comparison), "grids": grids(comparison)}
