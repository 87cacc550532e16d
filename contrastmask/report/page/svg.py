"""Plots as inline SVG that follow the page: its text colour in light and dark, its font, ids of their own."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Stand-ins that `inline` replaces by the page's variables; no plot uses them for anything else.
INK, SOFT, LINE, PAGE = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", PAGE: "var(--page)"}

# Okabe and Ito's colours, told apart with any colour vision and on both backgrounds, each with a marker of its own.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASE, NOVEL, PAPER = COLOURS[0], COLOURS[1], COLOURS[2]

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.linewidth": 1.6,
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib in the page's style, drawing to files only."""
    with matplotlib.rc_context(_STYLE):
        yield


def watermark(axes: Axes, text: str) -> None:
    """Write `text` across the plot, behind everything."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", rotation=20, fontsize=22, color=SOFT,
        alpha=0.16, zorder=0, clip_on=True,
    )  # fmt: skip


def inline(figure: Figure, name: str, label: str) -> str:
    """The figure as an <svg> element.

    Args:
        figure: drawn within `style`.
        name: unique on the page, letters, digits and '-': ids in the SVG start with it.
        label: what the plot shows, for who cannot see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # the same plot gives the same file
        figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.04, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font: [^;\"']*?([\d.]+)px [^;\"']*", r"font: \1px var(--font)", svg)
    svg = _own_ids(svg, name)
    width = re.search(r'width="([\d.]+)pt"', svg)
    size = f' style="width:{float(width[1]) * 4 / 3:.0f}px"' if width else ""
    opening = f'<svg role="img" aria-label="{_attribute(label)}"{size} '
    return opening + re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)[len("<svg ") :]


def _own_ids(svg: str, name: str) -> str:
    """Drop ids that nothing refers to, and put `name` in front of the others."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)([^)"]+)', rf"\g<1>{name}-\2", svg)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
