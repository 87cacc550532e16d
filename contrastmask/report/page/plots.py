"""The plots of the report. Each returns an <svg> element, or "" where there is nothing to draw yet.

Every plot of a scale that may not be compared with the paper carries the scale's name across it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contrastmask.report.page.cells import Grid
from contrastmask.report.page.evidence import Evidence, hardware, mean_seconds, thin
from contrastmask.report.page.svg import BASE, COLOURS, MARKERS, NOVEL, PAPER, inline, style, watermark
from contrastmask.report.view import Record
from contrastmask.tracking.curves import Curve

POINTS = 200  # of a curve: more than a plot has pixels to tell apart
NUMBERED = re.compile(r"\s*([^=]+?)\s*=\s*([-+]?\d*\.?\d+(?:e[-+]?\d+)?)\s*", re.I)
Seeds = Mapping[str, Sequence[Evidence]]
"""The seeds of each run, by run id."""


@dataclass(frozen=True)
class Swept:
    """A table whose rows differ in one number: `sigma` with 0.1, 0.2, …"""

    name: str
    values: tuple[float, ...]


def swept(records: Sequence[Record]) -> Swept | None:
    """The number that a table's rows vary, if every label is `name=number` with one name."""
    matches = [NUMBERED.fullmatch(record["variant"]) for record in records]
    if len(records) < 2 or not all(matches) or len({record["setting"] for record in records}) > 1:
        return None
    names = {match[1] for match in matches if match}
    return Swept(names.pop(), tuple(float(match[2]) for match in matches if match)) if len(names) == 1 else None


def ablation(grid: Grid, seeds: Seeds, scale: dict[str, Any]) -> str:
    """AP on novel categories over the swept number: mean and 2 sd over the seeds, each seed, the paper's line.

    At a scale that cannot be compared the paper's line stands in a panel of its own.
    """
    sweep = swept(grid.records)
    done = sorted((x, r) for x, r in zip(sweep.values, grid.records, strict=True) if r["n_seeds"]) if sweep else []
    ours = [(x, record) for x, record in done if record["AP"] is not None and record["AP"] == record["AP"]]
    if not sweep or not ours:
        return ""
    printed = sorted(
        (x, r["paper_AP"]) for x, r in zip(sweep.values, grid.records, strict=True) if r["paper_AP"] == r["paper_AP"]
    )
    apart = bool(printed) and not scale["comparable"]
    with style():
        figure = Figure(figsize=(4.4, 4.4 if apart else 2.8))
        panels = figure.subplots(2 if apart else 1, 1, squeeze=False)[:, 0].tolist()
        _ours(panels[0], ours, seeds)
        if printed:
            panels[-1].plot(*zip(*printed, strict=True), color=PAPER, ls="--", marker="s", label="paper")
        if apart:
            panels[0].set_title(f"here, scale {scale['name']}")
            panels[1].set_title("paper (full training)")
        for axes in panels:
            axes.set_xlabel(sweep.name)
            axes.set_xticks(sweep.values)
            axes.margins(y=0.25)
            _from_zero(axes)
            if not apart:
                axes.legend()
        panels[0].set_ylabel("mask AP, novel")
        _mark(panels[:1], scale)
        figure.tight_layout()
        label = f"Mask AP on novel categories over {sweep.name}: " + _listed(ours)
        return inline(figure, f"sweep-{grid.view.name}", label)


def _ours(axes: Axes, ours: Sequence[tuple[float, Record]], seeds: Seeds) -> None:
    xs = [x for x, _ in ours]
    spread = [2 * record["AP_sd"] if record["AP_sd"] == record["AP_sd"] else 0 for _, record in ours]
    several = any(record["n_seeds"] > 1 for _, record in ours)
    label = "here, mean ± 2 sd over seeds" if several else "here, one seed"
    axes.errorbar(xs, [r["AP"] for _, r in ours], spread, color=COLOURS[0], marker="o", capsize=3, label=label)
    if several:
        single = [
            (x, ap) for x, record in ours for e in seeds.get(record["run"], ()) if (ap := _novel_ap(e)) is not None
        ]
        axes.plot(*zip(*single, strict=True), ls="", marker="_", color=COLOURS[0], alpha=0.6)


def _novel_ap(evidence: Evidence) -> float | None:
    ap = evidence.metrics.get("segm", {}).get("novel", {}).get("AP")
    return None if ap is None else 100 * ap


def _listed(ours: Sequence[tuple[float, Record]]) -> str:
    return ", ".join(f"{record['AP']:.1f} at {x:g}" for x, record in ours)


def cost(grid: Grid, setting: str, seeds: Seeds, scale: dict[str, Any]) -> str:
    """AP on novel categories against training time, all systems of a table in one setting."""
    records = [record for record in grid.records if record["setting"] == setting]
    points = [(record, seconds) for record in records if (seconds := _seconds(record, seeds)) is not None]
    if not points:
        return ""
    unit, size = ("h", 3600.0) if max(s for _, s in points) >= 3600 else ("s", 1.0)
    methods = list(dict.fromkeys(record["method"] for record in grid.records))  # the same signs in all settings
    with style():
        figure = Figure(figsize=(4.4, 3.2))
        axes = figure.subplots()
        _scatter(axes, [(record, seconds / size) for record, seconds in points], methods)
        axes.set_xlabel(f"training time, {unit} of wall clock")
        axes.set_ylabel("mask AP, novel")
        axes.margins(0.18)
        _from_zero(axes)
        _legend_below(axes)
        _mark([axes], scale)
        label = f"Mask AP on novel categories against training time on {machines(records, seeds)}"
        return inline(figure, f"cost-{grid.view.name}-{setting}", label)


def machines(records: Sequence[Record], seeds: Seeds) -> str:
    """The hardware that the runs of these rows were trained on."""
    found = {hardware(evidence) for record in records for evidence in seeds.get(record["run"], ())}
    return "; ".join(sorted(found - {""})) or "hardware that is not recorded"


def _seconds(record: Record, seeds: Seeds) -> float | None:
    return mean_seconds(seeds.get(record["run"], ())) if record["n_seeds"] and record["AP"] == record["AP"] else None


def _scatter(axes: Axes, points: Sequence[tuple[Record, float]], methods: Sequence[str]) -> None:
    for i, method in enumerate(methods):
        mine = [(record, x) for record, x in points if record["method"] == method]
        if not mine:
            continue
        axes.plot(
            [x for _, x in mine], [r["AP"] for r, _ in mine], ls="", label=method,
            color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], clip_on=False,
        )  # fmt: skip
        for record, x in mine:
            name = f"{record['backbone'].replace('ResNet-', 'R').replace('ResNeXt-', 'X')} {record['schedule']}"
            axes.annotate(name, (x, record["AP"]), xytext=(4, 3), textcoords="offset points", fontsize=7)


def categories(evidence: Evidence, name: str, title: str, scale: dict[str, Any]) -> str:
    """Mask AP of each category, sorted; base and novel by colour and marker."""
    found = [c for c in evidence.metrics.get("per_category", []) if c.get("segm_AP") is not None]
    if not found:
        return ""
    found.sort(key=lambda category: (category["segm_AP"], str(category["name"])))
    with style():
        figure = Figure(figsize=(4.4, 0.9 + 0.17 * len(found)))
        axes = figure.subplots()
        for split, colour, marker in (("base", BASE, "o"), ("novel", NOVEL, "D")):
            rows = [(100 * c["segm_AP"], y) for y, c in enumerate(found) if c["split"] == split]
            if rows:
                values, ys = zip(*rows, strict=True)
                axes.hlines(ys, 0, values, color=colour, lw=1, alpha=0.5)
                axes.plot(values, ys, ls="", marker=marker, ms=4.5, color=colour, label=f"{split} ({len(rows)})")
        axes.set_yticks(range(len(found)), [_plain(category["name"]) for category in found], fontsize=8)
        axes.set_ylim(-0.7, len(found) - 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel("mask AP")
        axes.set_title(title)
        axes.legend(loc="lower right")
        _mark([axes], scale)
        return inline(figure, name, f"Mask AP of each category, {title}; the table of the run has the numbers")


def _plain(text: Any) -> str:
    """`text` literally: matplotlib reads $…$ as a formula."""
    return str(text).replace("$", r"\$")


def compared_losses(grid: Grid, seeds: Seeds, scale: dict[str, Any], key: str = "loss_mask") -> str:
    """The mask loss of a table's runs over training, first seed."""
    if len({record["setting"] for record in grid.records}) > 1:  # one label would name two runs
        return ""
    curves: dict[str, Curve] = {}
    for record in grid.records:
        first = next((e for e in seeds.get(record["run"], ()) if e.curves.get(key)), None)
        if first:
            curves.setdefault(record["variant"] or record["method"], first.curves[key])
    if not 2 <= len(curves) <= len(COLOURS):
        return ""
    return _lines(curves, f"losses-{grid.view.name}", "mask loss, base", scale)


def losses(evidence: Evidence, name: str, scale: dict[str, Any]) -> str:
    """All losses of one training."""
    shown = {key: curve for key, curve in evidence.curves.items() if key.startswith("loss")}
    return _lines(dict(list(shown.items())[: len(COLOURS)]), name, "loss", scale) if shown else ""


def _lines(curves: Mapping[str, Curve], name: str, ylabel: str, scale: dict[str, Any]) -> str:
    with style():
        figure = Figure(figsize=(4.4, 2.6))
        axes = figure.subplots()
        dashes = ("-", "--", "-.", ":")
        for i, (label, curve) in enumerate(curves.items()):
            steps, values = zip(*thin(curve, POINTS), strict=True)
            axes.plot(steps, values, color=COLOURS[i], ls=dashes[i % len(dashes)], label=_plain(label), lw=1.3)
        axes.set_xlabel("iteration")
        axes.set_ylabel(ylabel)
        axes.set_ylim(bottom=0)
        _legend_below(axes)
        _mark([axes], scale)
        return inline(figure, name, f"{ylabel} over iterations: {', '.join(curves)}")


def _from_zero(axes: Axes) -> None:
    """No room for AP below 0."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0.0), high)


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8, columnspacing=1.2)


def _mark(panels: Sequence[Axes], scale: dict[str, Any]) -> None:
    if not scale["comparable"]:
        for axes in panels:
            watermark(axes, f"{scale['name']} scale")
