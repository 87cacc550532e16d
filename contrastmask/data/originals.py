"""Ids as a person's files have them, in what a person reads: detections and mask readings.

Only data whose ids had to be numbered anew (normalise.py) differs; `truth` is pycocotools' COCO of a verified file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Reading = tuple[Any, Any, float]
"""Annotation id, category id, mask IoU."""


class Originals:
    """Translates detections (COCO's result format) and readings between our ids and the original ones."""

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
