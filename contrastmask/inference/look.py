"""A picture of what training sees: images of a split with masks and boxes, base and novel apart."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contrastmask.data.images import read_verified
from contrastmask.data.splits import read_split
from contrastmask.inference.overlay import draw
from contrastmask.runtime.files import check_unchanged, parse_coco, read_coco_bytes

COLUMNS = 4
CELL = 480  # pixels of a cell's longer side


def look(dataset: dict[str, Any], split_json: Path, number: int, seed: int) -> Image.Image:
    """A grid of `number` training images that have objects, as the split's annotations have them.

    Args:
        dataset: content of dataset.json.
        split_json: of the setting; the training annotations lie beside it.
        number: of images; fewer if the data has fewer.
        seed: of the choice. Images are taken so that every category is shown where possible.
    """
    split = read_split(split_json)
    annotations = split_json.with_name("instances_train.json")
    check_unchanged(annotations, split["sha256"], split_json)
    coco = parse_coco(read_coco_bytes(annotations), annotations)
    of_image = defaultdict(list)
    for annotation in coco["annotations"]:
        if not annotation["iscrowd"]:
            of_image[annotation["image_id"]].append(annotation)
    categories = [c | {"split": "base" if c["id"] in split["base"] else "novel"} for c in dataset["categories"]]
    cells = []
    for image in _chosen([i for i in coco["images"] if of_image[i["id"]]], of_image, number, seed):
        pixels = read_verified(Path(dataset["train"]["images"]) / image["file_name"], (image["width"], image["height"]))
        found = [_shown(annotation, image) for annotation in of_image[image["id"]]]
        cells.append(
            draw(np.ascontiguousarray(pixels[..., ::-1]), found, categories, {"base": "masks", "novel": "boxes only"})
        )
    return grid(cells)


def _chosen(images: list[dict], of_image: dict[int, list[dict]], number: int, seed: int) -> list[dict]:
    """Random images, those that show a category not yet shown first."""
    random.Random(seed).shuffle(images)
    shown: set[int] = set()
    first: list[dict] = []
    others: list[dict] = []
    for image in images:
        new = {a["category_id"] for a in of_image[image["id"]]} - shown
        (first if new else others).append(image)
        shown |= new
    return (first + others)[:number]


def _shown(annotation: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    """An annotation as a detection: its mask as compressed RLE."""
    from pycocotools import mask as coco_mask

    mask, size = annotation["segmentation"], (image["height"], image["width"])
    if isinstance(mask, list):
        polygons = [polygon for polygon in mask if len(polygon) >= 6]
        mask = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    elif isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, *size)
    return {"category_id": annotation["category_id"], "bbox": annotation["bbox"], "segmentation": mask}


def grid(cells: list[Image.Image]) -> Image.Image:
    """The pictures side by side, each fitted into a square cell, on white."""
    columns = min(COLUMNS, len(cells)) or 1
    rows = -(-len(cells) // columns)
    whole = Image.new("RGB", (columns * CELL, max(rows, 1) * CELL), "white")
    for place, cell in enumerate(cells):
        cell.thumbnail((CELL - 8, CELL - 8))
        whole.paste(cell, (place % columns * CELL, place // columns * CELL))
    return whole
