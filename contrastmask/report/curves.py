"""Learning curves of runs side by side, from what their training sent to MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from contrastmask.tracking.curves import read_curves

SHOWN = ("loss_cls", "loss_bbox", "loss_mask", "loss_contrast")
BINS = 30  # points of a curve: losses of single batches hide the trend

Curve = list[tuple[float, float]]


def read_losses(folder: Path) -> dict[str, Curve]:
    """The losses SHOWN of the run in a folder: (iteration, mean over a thirtieth of the training)."""
    curves = read_curves(folder)
    return {name: _binned(curves[name]) for name in SHOWN if name in curves}


def _binned(curve: Sequence[tuple[float, float]]) -> Curve:
    """Means of equally long stretches, each at its middle."""
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
