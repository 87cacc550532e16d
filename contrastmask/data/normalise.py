"""A person's COCO file as everything after verification reads it: ids of ours, nothing missing, one encoding.

Ids are kept where each is a whole number that pycocotools and NumPy hold exactly; otherwise that list is numbered from
1 in the file's order, and what was written stays beside it as `original_id`, which `Originals` gives back.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from contrastmask.runtime.files import write_coco

Id = int | str
LARGEST = 2**53  # COCOeval keeps ids as floating-point numbers


def numbered(rows: list[dict]) -> dict[Id, int]:
    """Our id of each id in a list."""
    ids = [row["id"] for row in rows]
    if all(type(id) is int and 0 <= id < LARGEST for id in ids):
        return {id: id for id in ids}
    return {id: number for number, id in enumerate(ids, start=1)}


def our_categories(train: list[dict]) -> list[dict]:
    """The categories of the data set: those of the training file, in its order."""
    ours = numbered(train)
    return [_row(category, ours, ("name",)) for category in train]


def write_ours(path: Path, coco: dict, categories: list[dict]) -> str:
    """Write a verified and amended file with ids of ours; returns its sha256.

    Args:
        path: file to write.
        coco: train's or val's content. Categories are told by their names.
        categories: of `our_categories`.
    """
    images, annotations = numbered(coco["images"]), numbered(coco["annotations"])
    by_name = {category["name"]: category["id"] for category in categories}
    labels = {c["id"]: by_name[c["name"]] for c in coco["categories"] if c["name"] in by_name}
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}

    def rows() -> Iterator[dict]:
        for annotation in coco["annotations"]:
            place = {"image_id": images[annotation["image_id"]], "category_id": labels[annotation["category_id"]]}
            kept = {key: value for key, value in annotation.items() if key != "original_id"}
            yield kept | _row(annotation, annotations) | place | _completed(annotation, sizes)

    entries = [_row(image, images, ("file_name", "width", "height")) for image in coco["images"]]
    write_coco(path, entries, rows(), categories)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _row(row: dict, ours: dict[Id, int], keys: tuple[str, ...] = ()) -> dict[str, Any]:
    original = {} if ours[row["id"]] == row["id"] else {"original_id": row["id"]}
    return {"id": ours[row["id"]]} | {key: row[key] for key in keys} | original


def _completed(annotation: dict, sizes: dict) -> dict[str, Any]:
    """What may be missing: area in pixels, of the mask or else of the box."""
    found: dict[str, Any] = {"iscrowd": int(annotation["iscrowd"])}
    mask = annotation.get("segmentation")
    if annotation.get("area") is None:
        _, _, width, height = annotation["bbox"]
        found["area"] = _area(mask, *sizes[annotation["image_id"]]) if mask else float(width * height)
    return found


def _area(mask: Any, height: int, width: int) -> float:
    from pycocotools import mask as coco_mask

    from contrastmask.data.masks import to_rle  # which needs OpenCV

    return float(coco_mask.area(to_rle(mask, height, width)))


# ---------------------------------------------------------------------------- and back

Reading = tuple[Any, Any, float]
"""Annotation id, category id, mask IoU."""


class Originals:
    """Translates detections (COCO's result format) and readings between our ids and the original ones.

    Only data whose ids had to be numbered anew differs; `truth` is pycocotools' COCO of a verified file.
    """

    def __init__(self, truth: Any) -> None:
        self.images, self.categories, self.annotations = (
            {id: row.get("original_id", id) for id, row in rows.items()}
            for rows in (truth.imgs, truth.cats, truth.anns)
        )

    def detections(self, ours: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """With original ids."""
        return _translated(ours, self.images, self.categories)

    def readings(self, ours: Iterable[Reading]) -> list[Reading]:
        """With original ids."""
        return [(self.annotations[a], self.categories[c], iou) for a, c, iou in ours]

    def our_detections(self, originals: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """With our ids; KeyError for an id that the data does not have."""
        return _translated(originals, _inverse(self.images), _inverse(self.categories))

    def our_annotations(self) -> dict[str, int]:
        """Our id of an annotation by its original one as a text, as a csv holds it."""
        return {str(original): id for id, original in self.annotations.items()}


def _inverse(ids: dict[Any, Any]) -> dict[Any, Any]:
    return {original: id for id, original in ids.items()}


def _translated(rows: Iterable[dict[str, Any]], images: dict, categories: dict) -> list[dict[str, Any]]:
    return [row | {"image_id": images[row["image_id"]], "category_id": categories[row["category_id"]]} for row in rows]
