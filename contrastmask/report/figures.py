"""Which runs and images Figures 6 and 7 show: configs/figures.yaml, read without torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contrastmask.config import CONFIGS, RunSpec, load_table
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError, DataError


class Text(NamedTuple):
    """What stands over a figure."""

    title: str
    caption: str


TEXTS = {
    "figure6": Text(
        "With and without the contrastive learning head",
        "The same images as annotated, without the head and with it. As many detections as the image has objects, best "
        "first. Base categories, learnt from masks, are blue and solid; novel ones, learnt from boxes, are orange and "
        "dashed.",
    ),
    "figure7": Text(
        "Class activation maps and pseudo masks",
        "The largest novel objects of each image, cropped to their boxes: the image, the class activation map, and the "
        "pseudo mask made from it. Yellow is taken for foreground and dark purple for background; grey is undecided "
        "and gives no keys.",
    ),
}
_LABELS = {"figure6": ("without", "with"), "figure7": ("row",)}


def load_figures(configs: Path = CONFIGS) -> dict[str, Any]:
    """configs/figures.yaml, checked.

    Raises:
        ConfigError: naming the file, the key and the fix.
    """
    return read_yaml(configs / "figures.yaml", "figures")


def figure_runs(figure: str, preset: str, configs: Path = CONFIGS) -> list[RunSpec]:
    """The runs that a figure shows, all of one setting: for figure6 without and with the head, for figure7 one.

    Raises:
        ConfigError: a row that does not exist or has no run, or rows of different settings.
    """
    chosen = load_figures(configs)[figure]
    file = configs / "figures.yaml"
    table = load_table(configs / "tables" / f"{chosen['table']}.yaml", preset, configs)
    rows = {row.label: row.run for row in reversed(table.rows)}
    runs = []
    for key in _LABELS[figure]:
        run = rows.get(chosen[key])
        if run is None:
            raise ConfigError(f"{file}, {figure}.{key}: {table.name} has no row '{chosen[key]}' with a run; there are: "
                              + ", ".join(sorted(rows)))  # fmt: skip
        runs.append(run)
    if len({run.setting for run in runs}) > 1:
        raise ConfigError(f"{file}, {figure}: its two rows are of different settings; choose rows of one")
    return runs


def choose_images(
    content: dict[str, Any],
    scale: str,
    annotations: Iterable[dict[str, Any]],
    base: Sequence[int],
    novel: Sequence[int],
) -> list[int]:
    """Ids of the images to show: those listed for the scale, or the first with objects of both sides.

    Args:
        content: of configs/figures.yaml.
        scale: the scale's name.
        annotations: COCO annotations of val.
        base, novel: category ids.

    Raises:
        DataError: a listed image is not there, or none has objects of both sides.
    """
    sides: dict[int, set[str]] = {}
    for annotation in annotations:
        found = sides.setdefault(annotation["image_id"], set())
        if is_object(annotation) and annotation["category_id"] in (*base, *novel):
            found.add("base" if annotation["category_id"] in base else "novel")
    listed = content["images"].get(scale)
    if listed:
        absent = [str(image) for image in listed if image not in sides]
        if absent:
            raise DataError(
                f"configs/figures.yaml, images.{scale}: no annotated val image has the id {', '.join(absent)}"
            )
        return list(listed)
    mixed = sorted(image for image, found in sides.items() if len(found) == 2)
    if not mixed:
        raise DataError(
            "no val image has objects of both a base and a novel category; "
            "list images for this scale in configs/figures.yaml"
        )
    return mixed[: content["count"]]


def is_object(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is one object with a box of at least a pixel."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) >= 1


def best(detections: Iterable[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The `number` detections with the highest scores, best first; the first of equals."""
    return sorted(detections, key=lambda detection: -detection["score"])[:number]


def largest(annotations: Iterable[dict[str, Any]], categories: Sequence[int], number: int) -> list[dict[str, Any]]:
    """The `number` objects of these categories with the largest boxes, by falling area, then by id."""
    mine = [a for a in annotations if a["category_id"] in categories and is_object(a)]
    return sorted(mine, key=lambda a: (-a["bbox"][2] * a["bbox"][3], a["id"]))[:number]
