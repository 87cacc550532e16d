"""COCO's 80 categories and the paper's two lists, read from `configs/paper/coco_splits.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from contrastmask.paths import CONFIGS


@dataclass(frozen=True)
class Category:
    """A COCO category: `id` as in COCO's files (1..90, with gaps), `split` is "voc" or "nonvoc"."""

    id: int
    name: str
    split: str


@cache
def coco_categories() -> tuple[Category, ...]:
    """The 80 categories in COCO's order (by id): 20 of voc, 60 of nonvoc."""
    lists = json.loads((CONFIGS / "paper" / "coco_splits.json").read_text(encoding="utf-8"))
    found = [Category(c["id"], c["name"], split) for split in ("voc", "nonvoc") for c in lists[split]]
    return tuple(sorted(found, key=lambda category: category.id))
