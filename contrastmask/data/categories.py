"""Categories: COCO's 80, each in one of the paper's halves; and how many objects of each have a mask in a data set.

Masks are what tells base from novel, and what evaluation can measure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from contrastmask.config.rows import SPLITS
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


@dataclass(frozen=True)
class Count:
    """Objects of one category, how many of them have a segmentation, and crowds with one, which nothing learns from."""

    annotations: int = 0
    masks: int = 0
    crowds: int = 0

    @property
    def mixed(self) -> bool:
        """Whether some have a mask and some have only a box."""
        return 0 < self.masks < self.annotations


Counts = Mapping[int, Count]


def count_masks(annotations: Iterable[Mapping[str, Any]]) -> dict[Any, Count]:
    """Counts by category id; a category without any annotation is not in them.

    A segmentation that is missing, null or empty is no mask.
    """
    totals: dict[int, list[int]] = {}
    for annotation in annotations:
        total = totals.setdefault(annotation["category_id"], [0, 0, 0])
        masked = bool(annotation.get("segmentation"))
        if annotation.get("iscrowd"):
            total[2] += masked
        else:
            total[0] += 1
            total[1] += masked
    return {category: Count(*total) for category, total in totals.items()}


def say_crowds(categories: Iterable[Mapping[str, Any]], counts: Mapping[Any, Count]) -> str | None:
    """The categories whose masks are all crowds, which is how brush tools write single objects, and the way out."""
    found = [
        (c["name"], count) for c in categories if (count := counts.get(c["id"])) and count.crowds > count.masks == 0
    ]
    if not found:
        return None
    names = ", ".join(f"{name} ({count.crowds})" for name, count in found)
    return (
        f"all masks are crowds (iscrowd 1), from which nothing is learned, of {names}; if they are single objects, as "
        "brush tools write them: `contrastmask init FOLDER --crowds objects`, or in the scale `crowds: objects` under "
        "`dataset`"
    )


def say_split(base: Sequence[int], novel: Sequence[int], names: Mapping[int, str], counts: Counts) -> str:
    """A split for a person to confirm: the categories of each side, with how many examples there are of each."""
    lines = [f"  base, masks are learned: {_categories(base)}"]
    for i in base:
        count = counts.get(i, Count())
        lines.append(f"    {count.annotations:7d} masks  {names[i]} (id {i}){_crowds(count)}")
    lines += [f"  novel, only boxes are used: {_categories(novel)}"]
    for i in novel:
        count = counts.get(i, Count())
        unused = f", {count.masks} with a mask that is not used" if count.masks else ""
        lines.append(f"    {count.annotations:7d} boxes  {names[i]} (id {i}){unused}{_crowds(count)}")
    return "\n".join(lines)


def _crowds(count: Count) -> str:
    return f", and {count.crowds} crowds, which training leaves out" if count.crowds else ""


def _categories(ids: Sequence[int]) -> str:
    return "1 category" if len(ids) == 1 else f"{len(ids)} categories"
