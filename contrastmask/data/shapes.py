"""What a synthetic category looks like: the outlines, the textures, and who gets which.

A category is a cell of a grid of 8 textures x 10 hues, so that texture and hue together name it, and has one
of 20 shape families besides. Hues of one texture stand 36 degrees apart; every second texture is shifted by
18. Cells of the two splits are interleaved over the grid: neither hue nor texture alone tells the split.
The families of the two splits are disjoint (a mask head that has learned the base shapes has not seen the
novel ones); both hold convex, concave, thin and holed ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from contrastmask.data.categories import coco_categories

TEXTURES = ("rows", "columns", "checks", "dots", "grid", "zigzag", "rings", "speckle")
HUES = 10
VOC_SHAPES = "pie ring hexagon star bar diamond zed tee ell crescent"
NONVOC_SHAPES = "ellipse triangle cross cup arrow square frame halfdisc hourglass heart"
SHAPES = {"voc": VOC_SHAPES.split(), "nonvoc": NONVOC_SHAPES.split()}


@dataclass(frozen=True)
class Look:
    """A category and its appearance; `hue` in degrees."""

    category_id: int
    name: str
    split: str
    shape: str
    texture: str
    hue: float


@cache
def looks(count: int) -> tuple[Look, ...]:
    """The looks of the first `count` categories (2..80), by category id.

    Half of them voc, half nonvoc (the odd one nonvoc; above 40 all of voc's 20), each split's first ones in
    COCO's order. A category looks the same whatever `count` is.
    """
    if not 2 <= count <= 80:
        raise ValueError(f"categories must be between 2 and 80 (COCO's), not {count}")
    n_voc = min(count // 2, 20)
    wanted = {"voc": n_voc, "nonvoc": count - n_voc}
    ranks = {"voc": 0, "nonvoc": 0}
    chosen = []
    for category in coco_categories():
        rank = ranks[category.split]
        ranks[category.split] += 1
        if rank < wanted[category.split]:
            texture, hue = _cells()[category.split][rank]
            shape = SHAPES[category.split][rank % len(SHAPES[category.split])]
            chosen.append(
                Look(category.id, category.name, category.split, shape, TEXTURES[texture], _degrees(texture, hue))
            )
    return tuple(chosen)


def _degrees(texture: int, hue: int) -> float:
    return 36.0 * hue + 18.0 * (texture % 2)


@cache
def _cells() -> dict[str, list[tuple[int, int]]]:
    """Per split its (texture, hue) cells, most distinct first, so that a few categories differ the most."""
    free: dict[str, list[tuple[int, int]]] = {"voc": [], "nonvoc": []}
    for texture in range(len(TEXTURES)):
        for hue in range(HUES):
            is_voc = (hue + 2 * texture + texture // 2) % 4 == 0  # 20 of 80, spread over rows and columns
            free["voc" if is_voc else "nonvoc"].append((texture, hue))
    ordered: dict[str, list[tuple[int, int]]] = {"voc": [], "nonvoc": []}
    taken: list[tuple[int, int]] = []
    while free["nonvoc"]:
        for split in ("voc", "nonvoc"):
            if free[split]:
                best = max(free[split], key=lambda cell: min((_distance(cell, t) for t in taken), default=0.0))
                free[split].remove(best)
                ordered[split].append(best)
                taken.append(best)
    return ordered


def _distance(a: tuple[int, int], b: tuple[int, int]) -> float:
    """How different two cells look: hue steps of 36 degrees; another texture counts as one step."""
    gap = abs(_degrees(*a) - _degrees(*b)) % 360
    return min(gap, 360 - gap) / 36 + (a[0] != b[0])


# ---------------------------------------------------------------------------- outlines


@cache
def outline(shape: str) -> tuple[np.ndarray, ...]:
    """The closed paths (P, 2) of a shape family around the origin; a second path is a hole (even-odd rule)."""
    paths = _DRAWN[shape]() if shape in _DRAWN else [np.array(_CORNERS[shape], float)]
    return tuple(paths)


def _arc(radius: float, start: float = 0, stop: float = 360, x: float = 0, points: int = 40) -> np.ndarray:
    """Points (P, 2) on a circle around (x, 0), angles in degrees."""
    angle = np.deg2rad(np.linspace(start, stop, points))
    return np.stack([x + radius * np.cos(angle), radius * np.sin(angle)], 1)


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """A regular polygon, or a star whose every second corner lies at radius `inner`."""
    angle = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radius = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], 1) / 17


_SQUARE = np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
_DRAWN: dict[str, Callable[[], list[np.ndarray]]] = {
    "crescent": lambda: [np.concatenate([_arc(1, 50, 310), _arc(0.83, 292.4, 67.6, x=0.326)])],
    "ring": lambda: [_arc(1), _arc(0.35)],
    "hexagon": lambda: [_regular(6)],
    "star": lambda: [_regular(10, inner=0.42)],
    "pie": lambda: [np.concatenate([_arc(1, 35, 325), [(-0.1, 0)]])],
    "ellipse": lambda: [_arc(1) * (1, 0.62)],
    "halfdisc": lambda: [_arc(1, 180, 360)],
    "frame": lambda: [_SQUARE, 0.5 * _SQUARE],
    "heart": lambda: [_heart()],
    "square": lambda: [_SQUARE],
}
_CORNERS = {
    "ell": [(-0.8, -1), (-0.2, -1), (-0.2, 0.4), (0.8, 0.4), (0.8, 1), (-0.8, 1)],
    "tee": [(-1, -1), (1, -1), (1, -0.4), (0.3, -0.4), (0.3, 1), (-0.3, 1), (-0.3, -0.4), (-1, -0.4)],
    "diamond": [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)],
    "bar": [(-1, -0.22), (1, -0.22), (1, 0.22), (-1, 0.22)],
    "zed": [(-1, -0.9), (0.3, -0.9), (0.3, 0.3), (1, 0.3), (1, 0.9), (-0.3, 0.9), (-0.3, -0.3), (-1, -0.3)],
    "triangle": [(0, -0.9), (1, 0.8), (-1, 0.8)],
    "cross": [
        *[(-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)],
        *[(0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)],
    ],
    "cup": [(-0.9, -1), (-0.4, -1), (-0.4, 0.5), (0.4, 0.5), (0.4, -1), (0.9, -1), (0.9, 1), (-0.9, 1)],
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.85), (1, 0), (0.1, 0.85), (0.1, 0.3), (-1, 0.3)],
    "hourglass": [(-0.85, -1), (0.85, -1), (0.25, 0), (0.85, 1), (-0.85, 1), (-0.25, 0)],
}

# ---------------------------------------------------------------------------- textures


def texture(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The light phase of a texture in [0, 1]; x (1, W) and y (H, 1) in periods from the object's centre.

    All of them survive a horizontal flip. Soft edges, so that a period of few pixels does not alias.
    """
    wave = {
        "rows": lambda: np.sin(2 * np.pi * y) + 0 * x,
        "columns": lambda: np.sin(2 * np.pi * x) + 0 * y,
        "checks": lambda: np.sin(1.7 * np.pi * x) * np.sin(1.7 * np.pi * y) * 1.5,
        "dots": lambda: np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y) - 0.7,
        "grid": lambda: np.maximum(np.cos(1.6 * np.pi * x), np.cos(1.6 * np.pi * y)) - 0.7,
        "zigzag": lambda: np.sin(2 * np.pi * (y + 1.2 * np.abs((0.55 * x) % 1 - 0.5))),
        "rings": lambda: np.sin(2 * np.pi * np.hypot(x, y)),
        "speckle": lambda: _speckle(x, y, rng),
    }[name]()
    return 0.5 + 0.5 * np.tanh(4 * wave)


def _speckle(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random cells, a third of a period wide."""
    cells = rng.normal(0, 1, (32, 32))
    return cells[np.floor(3 * y).astype(int) % 32, np.floor(3 * x).astype(int) % 32]
