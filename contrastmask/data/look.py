"""A picture of training images with what training learns from: `contrastmask look`."""

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contrastmask.data.images import read_verified
from contrastmask.data.masks import to_rle
from contrastmask.data.overlay import draw
from contrastmask.data.splits import read_split
from contrastmask.runtime.files import check_unchanged, parse_coco, read_coco_bytes

COLUMNS = 4  # of the grid
CELL = 480  # pixels of a cell's longer side
GAP = 8  # pixels between cells


def draw_training_images(dataset: dict[str, Any], split_json: Path, number: int, seed: int) -> Image.Image:
    """A grid of `number` training images that have objects: masks of base categories, boxes of novel ones.

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
    base = set(split["base"])
    of_image = defaultdict(list)
    for annotation in coco["annotations"]:
        if not annotation["iscrowd"]:
            of_image[annotation["image_id"]].append(annotation)
    categories = [c | {"split": "base" if c["id"] in base else "novel"} for c in dataset["categories"]]
    cells = []
    for image in _chosen([i for i in coco["images"] if of_image[i["id"]]], of_image, number, seed):
        size = image["height"], image["width"]
        pixels = read_verified(Path(dataset["train"]["images"]) / image["file_name"], size[::-1])
        found = []
        for annotation in of_image[image["id"]]:
            learned = {key: annotation[key] for key in ("category_id", "bbox")}
            if annotation["category_id"] in base:
                learned["segmentation"] = to_rle(annotation["segmentation"], *size)
            found.append(learned)
        rgb = np.ascontiguousarray(pixels[..., ::-1])
        cells.append(draw(rgb, found, categories, {"base": "masks", "novel": "boxes only"}))
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


def grid(cells: list[Image.Image]) -> Image.Image:
    """The pictures side by side on white, none of a side longer than `CELL`, in cells of the largest one's size."""
    for cell in cells:
        cell.thumbnail((CELL, CELL))
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    width, height = (max(sides) + GAP for sides in zip(*(cell.size for cell in cells), strict=True))
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for place, cell in enumerate(cells):
        whole.paste(cell, (place % columns * width, place // columns * height))
    return whole
