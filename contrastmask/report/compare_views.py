"""A comparison of two runs for a terminal, a log or a browser."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich import box
from rich.console import Console
from rich.table import Table

from contrastmask.evaluation.bootstrap import Interval
from contrastmask.report.compare import Comparison, Gain

NOTHING = "–"
SHOWN_IMAGES = 5  # at each end


def percent(value: float | None) -> str:
    """A fraction times 100."""
    return NOTHING if value is None else f"{100 * value:.2f}"


def signed(value: float) -> str:
    """A difference of fractions times 100, with its sign."""
    return f"{100 * value:+.2f}" if value else "0.00"


def interval(gain: Interval | None) -> str:
    """A gain's interval, times 100."""
    return NOTHING if gain is None else f"[{signed(gain.low)}, {signed(gain.high)}]"


def better(gain: Interval | None) -> str:
    """The run that is better, where the interval leaves out 0."""
    if gain is None or gain.low <= 0 <= gain.high:
        return ""
    return "B" if gain.value > 0 else "A"


def gain_tables(comparison: Comparison) -> list[tuple[str, str, tuple[Gain, ...]]]:
    """Title, heading of the first column and lines of each table of gains."""
    tables = [
        (f"On {comparison.subset} categories", "metric", comparison.metrics),
        ("By object size: mask IoU in true boxes", "size", comparison.sizes),
        ("By category: mask AP", "category", comparison.category_ap),
        ("By category: mask IoU in true boxes", "category", comparison.category_iou),
    ]
    return [table for table in tables if table[2]]


def _value(gain: Interval | None) -> str:
    return NOTHING if gain is None else signed(gain.value)


def extremes(comparison: Comparison) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Per side, the images that it wins by most: id, file, objects, A, B, B - A."""
    wins = {
        "B": [i for i in comparison.images if i.b > i.a][:SHOWN_IMAGES],
        "A": [i for i in reversed(comparison.images) if i.a > i.b][:SHOWN_IMAGES],
    }
    lines: dict[str, list[tuple[str, ...]]] = {
        side: [(str(i.id), i.file, str(i.objects), percent(i.a), percent(i.b), signed(i.b - i.a)) for i in images]
        for side, images in wins.items()
    }
    return [(side, rows) for side, rows in lines.items() if rows]


# ---------------------------------------------------------------------------- text


def print_text(comparison: Comparison, console: Console) -> None:
    """Tables with rules and colour in a terminal, plain columns elsewhere."""
    for line in heading(comparison):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    rows = [(d.key, d.a or NOTHING, d.b or NOTHING) for d in comparison.config]
    if rows:
        _table(console, "Configuration, where it differs", ("key", "A", "B"), rows, left=3)
    else:
        console.print("\nThe two configurations are the same.")
    for title, first, gains in gain_tables(comparison):
        lines = [
            (g.name, str(g.objects), percent(g.a), percent(g.b), _value(g.gain), interval(g.gain), better(g.gain))
            for g in gains
        ]
        _table(console, title, (first, "objects", "A", "B", "gain", "interval", "better"), lines)
    for side, images in extremes(comparison):
        title = f"Images where {side} gains most: mask IoU in true boxes"
        _table(console, title, ("image", "file", "objects", "A", "B", "gain"), images, left=2)


def heading(comparison: Comparison) -> Iterator[str]:
    """What is compared, on what, and how."""
    yield f"A  {comparison.a}"
    yield f"B  {comparison.b}"
    seeds = ", ".join(map(str, comparison.seeds))
    yield f"scale {comparison.scale['name']}, data {comparison.data}, seed{'s' * (len(comparison.seeds) > 1)} {seeds}"
    yield comparison.scale["note"]
    yield f"{comparison.method} Values times 100."


def _table(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]], left: int = 1
) -> None:
    style = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(title=title, box=style, title_justify="left", pad_edge=False, title_style="bold", show_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_escaped(cell) for cell in row))
    console.print()
    console.print(table)


def _escaped(text: str) -> str:
    """Rich reads [words] as markup."""
    return re.sub(r"\[", r"\\[", text)


# ---------------------------------------------------------------------------- html


def to_html(comparison: Comparison, page: bool = True) -> str:
    """One file that needs nothing else; with `page=False` the part for another page's body, with its own style."""
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"percent": percent, "signed": signed, "interval": interval, "better": better}
    return pages.get_template("compare.html.j2").render(
        page=page,
        comparison=comparison,
        heading=list(heading(comparison)),
        tables=[(*table, _reach(table[2])) for table in gain_tables(comparison)],
        extremes=extremes(comparison),
        nothing=NOTHING,
    )


def _reach(gains: Sequence[Gain]) -> float:
    """The largest end of an interval: half the width of a table's drawings."""
    ends = (abs(end) for g in gains if g.gain for end in (g.gain.low, g.gain.high))
    return max(0.001, *ends)
