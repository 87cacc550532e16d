"""Figures 6 and 7 on paper: masks over images, maps over objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

BASE, NOVEL = "#0072b2", "#d55e00"  # those of the report's plots
FOREGROUND, BACKGROUND, UNDECIDED = "#fde725", "#440154", "#8a8f98"  # the paper's yellow and dark purple
PANEL = 2.3  # inches

Array = np.ndarray


@dataclass(frozen=True)
class Instance:
    """One object or detection on an image."""

    mask: Array
    """(H, W) bool."""
    corner: tuple[float, float]
    """x, y of its box's upper left corner."""
    label: str
    novel: bool


@dataclass(frozen=True)
class Pair:
    """A column of Figure 6: one image, what is annotated, and what each of two runs found."""

    image: Array
    """(H, W, 3) uint8, RGB."""
    annotated: Sequence[Instance]
    without: Sequence[Instance]
    with_: Sequence[Instance]


@dataclass(frozen=True)
class PseudoMask:
    """A column of Figure 7: one object, cropped to its box."""

    crop: Array
    """(h, w, 3) uint8, RGB."""
    cam: Array
    """(S, S) in [0, 1]."""
    foreground: Array
    """(S, S) bool."""
    background: Array
    """(S, S) bool."""
    label: str


@dataclass(frozen=True)
class SegmentedObject:
    """One object, cropped to its box, as several runs see and segment it."""

    crop: Array
    """(h, w, 3) uint8, RGB."""
    truth: Array
    """(h, w) bool."""
    cams: Mapping[str, Array]
    """(S, S) in [0, 1], by the run's label; runs without a map are left out."""
    masks: Mapping[str, Array]
    """(h, w) bool, by the run's label."""
    label: str


def draw_figure6(pairs: Sequence[Pair], note: str) -> Figure:
    """Images as columns; rows: annotated, without and with the CL head. `note` says what scale this is of."""
    rows = ("annotated", "without CL head", "with CL head")
    figure, axes = _panels(rows, len(pairs))
    for column, pair in enumerate(pairs):
        for row, instances in enumerate((pair.annotated, pair.without, pair.with_)):
            axes[row][column].imshow(pair.image)
            for instance in instances:
                _overlay(axes[row][column], instance)
    handles = [
        Line2D([], [], color=BASE, lw=2, label="base: learnt from masks"),
        Line2D([], [], color=NOVEL, lw=2, ls="--", label="novel: learnt from boxes"),
    ]
    return _finish(figure, handles, note)


def _overlay(axes: Axes, instance: Instance) -> None:
    colour = NOVEL if instance.novel else BASE
    tint = np.zeros((*instance.mask.shape, 4))
    tint[instance.mask] = (*to_rgb(colour), 0.4)
    axes.imshow(tint)
    if instance.mask.any():
        outline = np.pad(instance.mask.astype(float), 1)  # closes the outline of what touches the border
        xs, ys = np.arange(outline.shape[1]) - 1, np.arange(outline.shape[0]) - 1
        axes.contour(
            xs, ys, outline, [0.5], colors=[colour], linestyles="--" if instance.novel else "-", linewidths=1.2
        )
    height, width = instance.mask.shape
    x, y = (max(coordinate, 0.0) for coordinate in instance.corner)
    axes.text(
        x, y, _plain(instance.label), fontsize=6, color="white", va="top", clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def draw_figure7(objects: Sequence[PseudoMask], note: str) -> Figure:
    """Objects as columns; rows: image, CAM, pseudo mask. `note` says what scale this is of."""
    figure, axes = _panels(("image", "CAM", "pseudo mask"), len(objects))
    for column, shown in enumerate(objects):
        height, width = shown.crop.shape[:2]
        whole = (-0.5, width - 0.5, height - 0.5, -0.5)  # the map covers the box, whatever its shape
        axes[0][column].imshow(shown.crop)
        axes[0][column].set_title(_plain(shown.label), fontsize=8)
        axes[1][column].imshow(shown.crop.mean(axis=2), cmap="gray")  # no colours but the map's
        axes[1][column].imshow(
            shown.cam, extent=whole, cmap="viridis", vmin=0, vmax=1, alpha=0.65, interpolation="bilinear"
        )
        axes[2][column].imshow(pseudo_mask_image(shown), extent=whole, interpolation="nearest")
        axes[1][column].set_aspect("equal")
        axes[2][column].set_aspect("equal")
    handles = [
        Patch(facecolor=FOREGROUND, edgecolor="black", label="foreground"),
        Patch(facecolor=BACKGROUND, edgecolor="black", label="background"),
        Patch(facecolor=UNDECIDED, edgecolor="black", label="undecided"),
    ]
    return _finish(figure, handles, note)


def draw_objects(objects: Sequence[SegmentedObject], note: str) -> Figure:
    """Objects as columns; rows: image, true mask, then the CAM and the mask of each run. `note` says the scale."""
    runs = list(objects[0].masks)
    panels: list[tuple[str, str | None]] = [("image", None), ("true mask", None)]
    for run in runs:
        panels += [(kind, run) for kind in ("CAM", "mask") if kind == "mask" or run in objects[0].cams]
    figure, axes = _panels([kind if run is None else f"{kind}\n{run}" for kind, run in panels], len(objects))
    for column, shown in enumerate(objects):
        axes[0][column].set_title(_plain(shown.label), fontsize=8)
        height, width = shown.crop.shape[:2]
        for row, (kind, of) in enumerate(panels):
            panel = axes[row][column]
            panel.imshow(shown.crop if kind != "CAM" else shown.crop.mean(axis=2), cmap="gray")
            if kind == "CAM" and of is not None:
                whole = (-0.5, width - 0.5, height - 0.5, -0.5)
                panel.imshow(shown.cams[of], extent=whole, cmap="viridis", vmin=0, vmax=1, alpha=0.65)
                panel.set_aspect("equal")
            elif kind != "image":
                mask = shown.truth if of is None else shown.masks[of]
                _overlay(
                    panel,
                    Instance(mask, (0, 0), "annotated" if of is None else f"IoU {_iou(mask, shown.truth):.2f}", True),
                )
    return _finish(figure, [Line2D([], [], color=NOVEL, lw=2, ls="--", label="novel: learnt from boxes")], note)


def _iou(a: Array, b: Array) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def pseudo_mask_image(shown: PseudoMask) -> Array:
    """(S, S, 3) RGB in [0, 1]: one of three colours for each pixel."""
    image = np.full((*shown.cam.shape, 3), to_rgb(UNDECIDED))
    image[shown.foreground] = to_rgb(FOREGROUND)
    image[shown.background] = to_rgb(BACKGROUND)
    return image


def _panels(rows: Sequence[str], columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(PANEL * columns + 0.4, PANEL * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, name in enumerate(rows):
        for panel in axes[row]:
            panel.set_xticks([])
            panel.set_yticks([])
        axes[row][0].set_ylabel(name, fontsize=9)
    return figure, axes


def _finish(figure: Figure, handles: Sequence[Any], note: str) -> Figure:
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False,
        title=note, title_fontsize=8,
    )  # fmt: skip
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.pdf, the same bytes for the same figure; returns the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    figure.savefig(paths[0], dpi=200, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"CreationDate": None})
    return paths


def _plain(text: str) -> str:
    """`text` literally: matplotlib reads $…$ as a formula."""
    return text.replace("$", r"\$")
