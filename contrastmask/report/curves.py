"""Learning curves of runs side by side, from what their training sent to MLflow."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

SHOWN = ("loss_cls", "loss_bbox", "loss_mask", "loss_contrast")
BINS = 30  # points of a curve: losses of single batches hide the trend

Curve = list[tuple[float, float]]


def read_losses(spool: Path) -> dict[str, Curve]:
    """The losses SHOWN in a run's tracking.jsonl: (iteration, mean over a thirtieth of the training)."""
    points: dict[str, Curve] = {}
    with spool.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            for name in SHOWN:
                value = event.get("values", {}).get(f"train/{name}") if event["event"] == "metrics" else None
                if value is not None:
                    points.setdefault(name, []).append((event["step"], value))
    return {name: _binned(curve) for name, curve in points.items()}


def _binned(curve: Curve) -> Curve:
    size = max(len(curve) // BINS, 1)
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [tuple(sum(values) / len(part) for values in zip(*part, strict=True)) for part in parts]  # type: ignore[misc]


def draw_curves(losses: Mapping[str, Mapping[str, Curve]], note: str) -> Figure:
    """A panel a loss, a line a run.

    Args:
        losses: by the run's label, from `read_losses`.
        note: what scale this is of.
    """
    names = [name for name in SHOWN if any(name in of_run for of_run in losses.values())]
    figure = Figure(figsize=(2.9 * len(names), 2.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for number, (label, of_run) in enumerate(losses.items()):
            if name in of_run:
                steps, values = zip(*of_run[name], strict=True)
                axes.plot(steps, values, label=label, color=f"C{number}", lw=1.3)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("iteration", fontsize=8)
        axes.tick_params(labelsize=7)
    handles = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    labels = [label for label in losses if label in handles]
    figure.legend(
        [handles[label] for label in labels], labels, loc="outside lower center", ncols=len(labels), fontsize=8,
        frameon=False, title=note, title_fontsize=8,
    )  # fmt: skip
    return figure
