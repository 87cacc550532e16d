"""A grid of pictures by matplotlib: masks over images, maps over objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from contrastmask.report.plots import BASE, NOVEL, no_formula

SIDE = 2.3  # inches of a panel
Array = np.ndarray


@dataclass(frozen=True)
class Instance:
    """One object or detection on an image."""

    mask: Array
    """(H, W) bool."""
    corner: tuple[float, float]
    """x, y of its label's upper left corner."""
    label: str
    novel: bool


@dataclass(frozen=True)
class Panel:
    """One picture: an image with masks over it, or a map over an object."""

    image: Array
    """(H, W, 3) uint8, RGB."""
    instances: Sequence[Instance] = ()
    map: Array | None = None
    """Covers the image whatever its shape: (S, S) in [0, 1], or (S, S, 3) RGB in [0, 1]."""


def draw(
    rows: Sequence[str], columns: Sequence[Sequence[Panel]], titles: Sequence[str], handles: Sequence[Any], note: str
) -> Figure:
    """Panels column by column, with the names of the rows, titles of the columns, a legend and a note under it."""
    figure = Figure(figsize=(SIDE * len(columns) + 0.4, SIDE * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for place, panels in enumerate(columns):
        for row, panel in enumerate(panels):
            grid[row][place].set(xticks=[], yticks=[])
            _draw_panel(grid[row][place], panel)
        if titles:
            grid[0][place].set_title(no_formula(titles[place]), fontsize=8)
    for row, name in enumerate(rows):
        grid[row][0].set_ylabel(no_formula(name), fontsize=9)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False,
        title=note, title_fontsize=8,
    )  # fmt: skip
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    height, width = panel.image.shape[:2]
    if panel.map is None:
        axes.imshow(panel.image)
    else:
        whole = (-0.5, width - 0.5, height - 0.5, -0.5)
        if panel.map.ndim == 2:  # over grey: no colours but the map's
            axes.imshow(panel.image.mean(axis=2), cmap="gray")
            axes.imshow(panel.map, extent=whole, cmap="viridis", vmin=0, vmax=1, alpha=0.65, interpolation="bilinear")
        else:
            axes.imshow(panel.map, extent=whole, interpolation="nearest")
        axes.set_aspect("equal")
    for instance in panel.instances:
        _overlay(axes, instance)


def _overlay(axes: Axes, instance: Instance) -> None:
    colour = NOVEL if instance.novel else BASE
    tint = np.zeros((*instance.mask.shape, 4))
    tint[instance.mask] = (*to_rgb(colour), 0.4)
    axes.imshow(tint)
    if instance.mask.any():
        outline = np.pad(instance.mask.astype(float), 1)  # closes the outline of what touches the border
        xs, ys = np.arange(outline.shape[1]) - 1, np.arange(outline.shape[0]) - 1
        dashes = "--" if instance.novel else "-"
        axes.contour(xs, ys, outline, [0.5], colors=[colour], linestyles=dashes, linewidths=1.2)
    height, width = instance.mask.shape
    x, y = (max(coordinate, 0.0) for coordinate in instance.corner)
    axes.text(
        x, y, no_formula(instance.label), fontsize=6, color="white", va="top", clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.pdf, the same bytes for the same figure; returns the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    figure.savefig(paths[0], dpi=200, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"CreationDate": None})
    return paths
