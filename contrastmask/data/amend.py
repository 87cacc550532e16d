"""A person's COCO file, read in place where it is written otherwise than COCO's but can mean one thing only.

Each reading is counted as a warning. `retype` comes before the types are checked, `amend` after.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from contrastmask.data.boxes import bounding_box
from contrastmask.data.problems import Problems

NUMBERS = {  # fields that hold a number; those of WHOLE hold a whole one
    "images": ("id", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "iscrowd", "area"),
    "categories": ("id",),
}
WHOLE = {"id", "image_id", "category_id", "iscrowd", "width", "height"}
IDS = {"id", "image_id", "category_id"}  # which may be texts


def retype(coco: Any, found: Problems) -> None:
    """Numbers written as texts and whole ones written as 1.0, names written as numbers; ids that nobody wrote."""
    for key, fields in NUMBERS.items():
        for row in _rows(coco, key):
            for field in fields:
                if isinstance(value := row.get(field), (float, str)):
                    row[field] = _retyped(field, value, found)
    for annotation in _rows(coco, "annotations"):
        box = annotation.get("bbox")
        if isinstance(box, list) and any(type(value) is str for value in box):
            numbers = [_number(value) for value in box]
            if None not in numbers:
                annotation["bbox"] = numbers
                found.warn("boxes whose numbers are texts, read as numbers")
    for category in _rows(coco, "categories"):
        if type(category.get("name")) is int:
            category["name"] = str(category["name"])
            found.warn("categories whose name is a number, read as a text")
    annotations = list(_rows(coco, "annotations"))
    if annotations and not any("id" in annotation for annotation in annotations):
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
        found.warn("annotations without an id, numbered in the file's order", len(annotations))


def _rows(coco: Any, key: str) -> Iterator[dict[str, Any]]:
    rows = coco.get(key) if isinstance(coco, dict) else None
    return (row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict))


def _retyped(field: str, value: float | str, found: Problems) -> Any:
    """The value as a number; itself if it is right as it is, or means nothing."""
    if isinstance(value, str):
        number = None if field in IDS else _number(value)
        if number is None or (field in WHOLE and not number.is_integer()):
            return value
        found.warn(f'values of "{field}" that are texts, read as numbers')
        return int(number) if field in WHOLE else number
    if field in WHOLE and value.is_integer():
        found.warn(f'values of "{field}" written as 1.0, read as whole numbers')
        return int(value)
    return value


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def amend(coco: dict, folder: Path, crowds_are_objects: bool, boxes_only: Iterable[Any], found: Problems) -> None:
    """Read in place the file of images in `folder`.

    Args:
        crowds_are_objects: what a person says of annotations with iscrowd 1.
        boxes_only: names of categories whose masks are none, as a person says.
    """
    refer(coco, found)
    for image in coco["images"]:
        name = image["file_name"]
        if "\\" in name and not (folder / name).exists():
            image["file_name"] = name.replace("\\", "/")
            found.warn("file names with backslashes, as Windows writes them, read as /")
    names = set(boxes_only)
    unmasked = {category["id"] for category in coco["categories"] if category["name"] in names}
    for annotation in coco["annotations"]:
        if annotation.get("iscrowd") is None:
            annotation["iscrowd"] = 0
        if annotation["iscrowd"] == 1 and crowds_are_objects:
            annotation["iscrowd"] = 0
            found.warn("crowds that are taken for single objects (crowds: objects)")
        mask = annotation.get("segmentation")
        polygons = _polygons(mask)
        if polygons is not None:
            annotation["segmentation"] = mask = polygons
            found.warn("segmentations that are a list of points or numbers, read as polygons [[x, y, ...]]")
        if not annotation.get("bbox") and (bounds := bounding_box(mask)):
            annotation["bbox"] = bounds
            found.warn("boxes that are missing, taken from the polygons")
        if mask and annotation["category_id"] in unmasked:
            annotation["segmentation"] = []
            found.warn("masks that are left out (boxes_only)")


def refer(coco: dict, found: Problems) -> None:
    """References that are texts where the ids are numbers, or numbers where they are texts."""
    for key, field in (("images", "image_id"), ("categories", "category_id")):
        ids = {row["id"] for row in coco[key]}
        by_text = {str(id): id for id in ids}
        if len(by_text) < len(ids):
            continue  # 1 and "1" are two: nobody can tell
        for annotation in coco["annotations"]:
            if annotation[field] not in ids and (id := by_text.get(str(annotation[field]))) is not None:
                annotation[field] = id
                found.warn(f'values of "{field}" that are texts where the ids are numbers, or the reverse')


def _polygons(mask: Any) -> list[list[float]] | None:
    """COCO's polygons of [x, y, ...], [[x, y], [x, y], ...] or [[[x, y], ...], ...]; None for anything else."""
    if not isinstance(mask, list) or not mask:
        return None
    if _numbers(mask):
        return [mask]
    if len(mask) > 2 and all(_is_point(point) for point in mask):
        return [[value for point in mask for value in point]]
    if all(isinstance(part, list) and part and all(_is_point(point) for point in part) for part in mask):
        return [[value for point in part for value in point] for part in mask]
    return None


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _numbers(value)


def _numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)
