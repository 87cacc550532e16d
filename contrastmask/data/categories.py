"""COCO's 80 categories, each in one of the paper's two halves: voc, or nonvoc."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from contrastmask.config.setting import SPLITS
from contrastmask.config.yamlfiles import load_yaml, read_yaml
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
    names = load_yaml((CONFIGS / "paper" / "coco_categories.yaml").read_text(encoding="utf-8"))
    voc = set(read_yaml(SPLITS / "voc.yaml", "split")["categories"])
    return tuple(Category(id, name, "voc" if name in voc else "nonvoc") for id, name in sorted(names.items()))
