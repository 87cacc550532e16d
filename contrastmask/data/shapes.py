"""What a synthetic category looks like: shape, texture and hue name it together.

Categories of VOC have the even places of a sequence, the others the odd ones. So the shapes of the two splits differ,
as there are eight, and hues, each a golden section further, stay apart whatever the number of categories.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from contrastmask.data.categories import coco_categories

TEXTURES = ("rows", "columns", "checks", "dots", "zigzag")
GOLDEN_SECTION = (5**0.5 - 1) / 2


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

    Half of them voc, half nonvoc (the odd one nonvoc; above 40 all of voc's 20), each split's first ones in COCO's
    order. A category looks the same whatever `count` is.
    """
    if not 2 <= count <= 80:
        raise ValueError(f"categories must be between 2 and 80 (COCO's), not {count}")
    n_voc = min(count // 2, 20)
    chosen = []
    for split, wanted in (("voc", n_voc), ("nonvoc", count - n_voc)):
        of_split = [category for category in coco_categories() if category.split == split]
        for rank, category in enumerate(of_split[:wanted]):
            place = 2 * rank + (split == "nonvoc")
            shape, texture = tuple(SHAPES)[place % len(SHAPES)], TEXTURES[place % len(TEXTURES)]
            chosen.append(Look(category.id, category.name, split, shape, texture, 360 * (place * GOLDEN_SECTION % 1)))
    return tuple(sorted(chosen, key=lambda look: look.category_id))


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    """Corners (P, 2) of a regular polygon, or of a star whose every second corner lies at radius `inner`."""
    angle = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radius = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


_CROSS = [
    *[(-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33)],
    *[(0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33)],
]
#: Closed paths (P, 2) in [-1, 1] by shape, in turn of VOC's categories and of the others; a second path is a hole.
SHAPES = {
    "disc": (_regular(40),),
    "square": (np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),),
    "star": (_regular(10, inner=0.42),),
    "triangle": (np.array([(0, -0.9), (1, 0.8), (-1, 0.8)]),),
    "cross": (np.array(_CROSS),),
    "ring": (_regular(40), 0.5 * _regular(40)),
    "arrow": (np.array([(-1, -0.3), (0.1, -0.3), (0.1, -0.85), (1, 0), (0.1, 0.85), (0.1, 0.3), (-1, 0.3)]),),
    "ell": (np.array([(-0.8, -1), (-0.1, -1), (-0.1, 0.3), (0.8, 0.3), (0.8, 1), (-0.8, 1)]),),
}


def texture(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The light phase of a texture (H, W) in [0, 1]; x (1, W) and y (H, 1) in periods.

    All of them survive a horizontal flip. Soft edges, so that a period of few pixels does not alias.
    """
    wave = {
        "rows": np.sin(2 * np.pi * y) + 0 * x,
        "columns": np.sin(2 * np.pi * x) + 0 * y,
        "checks": 1.5 * np.sin(1.7 * np.pi * x) * np.sin(1.7 * np.pi * y),
        "dots": np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y) - 0.7,
        "zigzag": np.sin(2 * np.pi * (y + 1.2 * np.abs((0.55 * x) % 1 - 0.5))),
    }[name]
    return 0.5 + 0.5 * np.tanh(4 * wave)
