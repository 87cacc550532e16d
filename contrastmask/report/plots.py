"""The plots of the report, by matplotlib, as SVG in data URIs. Each is None where there is nothing to draw yet.

Every plot of a scale that may not be compared with the paper carries the scale's name across it.
"""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastmask.report import paper
from contrastmask.report.layout import Line, View
from contrastmask.report.run_files import RunFiles, hardware, thin
from contrastmask.tracking.curves import Curve

POINTS = 200  # of a curve: more than a plot has pixels to tell apart
NUMBERED = re.compile(r"\s*([^=]+?)\s*=\s*([-+]?\d*\.?\d+(?:e[-+]?\d+)?)\s*", re.I)
# Okabe and Ito's colours, told apart with any colour vision, each with a marker and a dash of its own.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
MARKERS, DASHES = ("o", "s", "^", "D", "v", "P", "X", "*"), ("-", "--", "-.", ":")
BASE, NOVEL, PAPER = COLOURS[:3]
Seeds = Mapping[str, Sequence[RunFiles]]
"""The seeds of each run, by run id."""


@dataclass(frozen=True)
class Plot:
    """A picture with its heading and what to know when reading it."""

    id: str
    title: str
    note: str
    source: str
    """A data URI."""
    alt: str


def style() -> AbstractContextManager[None]:
    """matplotlib in the page's style; the same plot gives the same bytes."""
    return matplotlib.rc_context(
        {
            "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "lines.linewidth": 1.6,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
            "grid.color": "#d4d8de", "grid.linewidth": 0.6, "legend.frameon": False, "svg.hashsalt": "report",
        }
    )  # fmt: skip


def plot(figure: Figure, scale: dict[str, Any], id: str, title: str, note: str, alt: str) -> Plot:
    """The finished figure, drawn within `style`, with the scale's name across it where it must not be compared."""
    if not scale["comparable"]:
        axes = figure.axes[0]  # a second one, if any, is the paper's
        axes.text(
            0.5, 0.5, f"{scale['name']} scale", transform=axes.transAxes, ha="center", va="center", rotation=20,
            fontsize=20, color="0.5", alpha=0.25, zorder=0, clip_on=True,
        )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.08, metadata={"Date": None})
    return Plot(id, title, note, f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}", alt)


def no_formula(text: Any) -> str:
    """`text` as it is: matplotlib reads $…$ as a formula."""
    return str(text).replace("$", r"\$")


def swept(lines: Sequence[Line]) -> tuple[str, list[float]] | None:
    """The number that a table's rows vary, with their values, if every label is `name=number` with one name."""
    matches = [NUMBERED.fullmatch(line["variant"]) for line in lines]
    if len(lines) < 2 or not all(matches) or len({line["setting"] for line in lines}) > 1:
        return None
    names = {match[1] for match in matches if match}
    return (names.pop(), [float(match[2]) for match in matches if match]) if len(names) == 1 else None


def sweep(view: View, seeds: Seeds, scale: dict[str, Any]) -> Plot | None:
    """AP on novel categories over the swept number: mean and 2 sd over the seeds, each seed, and the paper's line.

    At a scale that cannot be compared the paper's line stands in a panel of its own.
    """
    found = swept(view.lines)
    if not found:
        return None
    name, values = found
    pairs = sorted(zip(values, view.lines, strict=True), key=lambda pair: pair[0])
    ours = [(x, line) for x, line in pairs if not math.isnan(line["AP"])]
    if not ours:
        return None
    printed = [(x, ap) for x, line in pairs if not math.isnan(ap := line["paper_AP"])]
    apart = bool(printed) and not scale["comparable"]
    with style():
        figure = Figure(figsize=(4.4, 4.4 if apart else 2.8), layout="constrained")
        panels = figure.subplots(2 if apart else 1, 1, squeeze=False)[:, 0].tolist()
        _ours(panels[0], ours, seeds)
        if printed:
            panels[-1].plot(*zip(*printed, strict=True), color=PAPER, ls="--", marker="s", label="paper, COCO")
        for axes in panels:
            axes.set(xlabel=no_formula(name), ylabel="mask AP, novel", xticks=values)
            axes.margins(y=0.25)
            _from_zero(axes)
            axes.legend(fontsize=8)
        said = ", ".join(f"{line['AP']:.1f} at {x:g}" for x, line in ours)
        alt = f"Mask AP on novel categories over {name}: {said}"
        return plot(figure, scale, f"sweep-of-{view.name}", "Curve", "The dashed line is the paper's.", alt)


def _ours(axes: Any, ours: Sequence[tuple[float, Line]], seeds: Seeds) -> None:
    several = any(line["n_seeds"] > 1 for _, line in ours)
    axes.errorbar(
        [x for x, _ in ours], [line["AP"] for _, line in ours],
        [0 if math.isnan(line["AP_sd"]) else 2 * line["AP_sd"] for _, line in ours],
        color=COLOURS[0], marker="o", capsize=3, label="here, mean ± 2 sd over seeds" if several else "here, one seed",
    )  # fmt: skip
    for x, line in ours if several else ():
        for files in seeds.get(line["run"], ()):
            ap = files.metrics.get("segm", {}).get("novel", {}).get("AP")
            axes.plot([x], [100 * ap if ap is not None else None], marker="_", color=COLOURS[0], alpha=0.6)


def cost(view: View, setting: str, seeds: Seeds, scale: dict[str, Any]) -> Plot | None:
    """AP on novel categories against training time, all systems of a table in one setting."""
    points: list[tuple[Line, float]] = []
    for line in view.lines:
        seconds = _seconds(seeds.get(line["run"], ()))
        if line["setting"] == setting and seconds is not None and not math.isnan(line["AP"]):
            points.append((line, seconds))
    if not points:
        return None
    unit, size = ("h", 3600.0) if max(s for _, s in points) >= 3600 else ("s", 1.0)
    methods = list(dict.fromkeys(line["method"] for line in view.lines))  # one sign in all settings
    with style():
        figure = Figure(figsize=(4.4, 3.2))
        axes = figure.subplots()
        for i, method in enumerate(methods):
            mine = [(line, seconds / size) for line, seconds in points if line["method"] == method]
            if mine:
                axes.plot(
                    [x for _, x in mine], [line["AP"] for line, _ in mine], ls="", label=no_formula(method),
                    color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], clip_on=False,
                )  # fmt: skip
            for line, x in mine:
                name = f"{line['backbone'].replace('ResNet-', 'R').replace('ResNeXt-', 'X')} {line['schedule']}"
                axes.annotate(no_formula(name), (x, line["AP"]), xytext=(4, 3), textcoords="offset points", fontsize=7)
        axes.set(xlabel=f"training time, {unit} of wall clock", ylabel="mask AP, novel")
        axes.margins(0.18)
        _from_zero(axes)
        _legend_below(axes)
        machines = {hardware(files) for line, _ in points for files in seeds.get(line["run"], ())} - {""}
        on = "; ".join(sorted(machines)) or "hardware that is not recorded"
        name = paper.name("settings", setting)
        return plot(
            figure, scale, f"cost-{setting}-of-{view.name}", f"AP against training time, {name}",
            f"Wall clock as recorded, on {on}.", f"Mask AP on novel categories against training time, {name}",
        )  # fmt: skip


def _seconds(seeds: Sequence[RunFiles]) -> float | None:
    """Mean training time over the finished seeds."""
    times = [float(seed.train["seconds"]) for seed in seeds if "seconds" in seed.train]
    return fmean(times) if times else None


def categories(files: RunFiles, setting: str, scale: dict[str, Any]) -> Plot | None:
    """Mask AP of each category, sorted; base and novel by colour and marker."""
    found = [c for c in files.metrics.get("per_category", []) if c.get("segm_AP") is not None]
    if not found:
        return None
    found.sort(key=lambda category: (category["segm_AP"], str(category["name"])))
    title = f"AP of each category, {paper.name('settings', setting)}"
    with style():
        figure = Figure(figsize=(4.4, 0.9 + 0.17 * len(found)))
        axes = figure.subplots()
        for split, colour, marker in (("base", BASE, "o"), ("novel", NOVEL, "D")):
            rows = [(100 * c["segm_AP"], y) for y, c in enumerate(found) if c["split"] == split]
            if rows:
                values, ys = zip(*rows, strict=True)
                axes.hlines(ys, 0, values, color=colour, lw=1, alpha=0.5)
                axes.plot(values, ys, ls="", marker=marker, ms=4.5, color=colour, label=f"{split} ({len(rows)})")
        axes.set_yticks(range(len(found)), [no_formula(category["name"]) for category in found], fontsize=8)
        axes.set(ylim=(-0.7, len(found) - 0.3), xlabel="mask AP")
        axes.set_xlim(left=0)
        axes.legend(loc="lower right")
        alt = f"{title}; the table of the run has the numbers"
        note = f"Run {files.run}, seed {files.seed}."
        return plot(figure, scale, f"categories-of-{setting}", title, note, alt)


def compared_losses(view: View, seeds: Seeds, scale: dict[str, Any], key: str = "loss_mask") -> Plot | None:
    """The mask loss of a table's runs over training, first seed."""
    if len({line["setting"] for line in view.lines}) > 1:  # one label would name two runs
        return None
    curves: dict[str, Curve] = {}
    for line in view.lines:
        first = next((files for files in seeds.get(line["run"], ()) if files.curves.get(key)), None)
        if first:
            curves.setdefault(line["variant"] or line["method"], first.curves[key])
    if not 2 <= len(curves) <= len(COLOURS):
        return None
    note = "On base categories, the only ones with masks."
    return _lines(curves, scale, f"losses-of-{view.name}", "Mask loss", note)


def losses(files: RunFiles, scale: dict[str, Any]) -> Plot | None:
    """All losses of one training."""
    shown = {key: curve for key, curve in files.curves.items() if key.startswith("loss")}
    shown = dict(list(shown.items())[: len(COLOURS)])
    return _lines(shown, scale, f"curve-{files.run}-{files.seed}", "Losses", "") if shown else None


def _lines(curves: Mapping[str, Curve], scale: dict[str, Any], id: str, title: str, note: str) -> Plot:
    with style():
        figure = Figure(figsize=(4.4, 2.6))
        axes = figure.subplots()
        for i, (label, curve) in enumerate(curves.items()):
            steps, values = zip(*thin(curve, POINTS), strict=True)
            axes.plot(steps, values, color=COLOURS[i], ls=DASHES[i % len(DASHES)], label=no_formula(label), lw=1.3)
        axes.set(xlabel="iteration", ylabel=title.lower())
        axes.set_ylim(bottom=0)
        _legend_below(axes)
        return plot(figure, scale, id, title, note, f"{title} over iterations: {', '.join(curves)}")


def _from_zero(axes: Axes) -> None:
    """No room for AP below 0."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), high)


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8, columnspacing=1.2)
