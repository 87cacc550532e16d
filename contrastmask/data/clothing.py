"""Clothing Co-Parsing as its authors publish it, converted to COCO files: photos of people and a label for each pixel.

    git clone https://github.com/bearpaw/clothing-co-parsing

Yang, Luo, Lin: Clothing Co-Parsing by Joint Image Segmentation and Labeling, CVPR 2014. A pixel has one of 59 labels
(annotations/pixel-level/NNNN.mat); of the 30 commonest that are things, objects are made (`objects`). The photos show
people who posted them on a fashion site: they are read where the clone lies, scaled, and never part of this project.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from contrastmask.data.masks import bounding_box, polygons
from contrastmask.errors import DataError
from contrastmask.runtime.files import write_coco, write_json

LABELS = "annotations/pixel-level"  # of a clone: a label image for each annotated photo
LONG_SIDE = 384  # pixels of a converted photo
SMALLEST = 0.0003  # share of the photo that a connected part needs
VAL_EVERY = 5  # photos whose number it divides are val

#: Labels whose objects come in pieces: each connected part is one. Of the others a photo has one object at most.
# fmt: off
PIECES = frozenset((
    "shoes", "boots", "socks", "sandals", "heels", "flats", "sneakers", "loafers", "pumps", "wedges", "clogs", "gloves",
    "earrings", "bag", "purse", "bracelet", "stockings",
))
CATEGORIES = frozenset((
    "hair", "shoes", "bag", "pants", "sunglasses", "dress", "purse", "coat", "blouse", "belt", "shirt", "skirt",
    "jeans", "sweater", "hat", "t-shirt", "blazer", "stockings", "suit", "bracelet", "scarf", "jacket", "sandals",
    "socks", "shorts", "vest", "boots", "top", "leggings", "sweatshirt",
))
# fmt: on


def convert(root: Path, out: Path, workers: int = 1) -> None:
    """Write train/, val/ and annotations/instances_{train,val}.json of a clone at `root` into `out`.

    The same clone gives the same files. Raises DataError if `root` is no such clone, naming what is missing.
    """
    names, labels = root / "label_list.mat", root / LABELS
    missing = [str(p) for p in (names, labels, root / "photos") if not p.exists()]
    if missing:
        raise DataError(
            f"{root} is no clone of https://github.com/bearpaw/clothing-co-parsing (data_root): "
            f"{', '.join(missing)} missing"
        )
    categories = read_categories(names)
    numbers = sorted(path.stem for path in labels.glob("*.mat"))
    parts = {"train": [n for n in numbers if int(n) % VAL_EVERY], "val": [n for n in numbers if not int(n) % VAL_EVERY]}
    for part, chosen in parts.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        work = partial(_convert_photo, root, out / part, categories)
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                found = list(pool.map(work, chosen, chunksize=16))
        else:
            found = [work(number) for number in chosen]
        annotations = [annotation for _, of_photo in found for annotation in of_photo]
        write_coco(
            out / "annotations" / f"instances_{part}.json",
            [image for image, _ in found],
            ({"id": n, **annotation} for n, annotation in enumerate(annotations, start=1)),
            [{"id": label, "name": name} for label, name in sorted(categories.items())],
        )
    write_json(out / "converted.json", {"photos": {part: len(chosen) for part, chosen in parts.items()}})


def is_complete(out: Path) -> bool:
    """Whether `convert` has come to its end in `out`."""
    return (out / "converted.json").exists()


def read_categories(names: Path) -> dict[int, str]:
    """Label and name of the categories, from label_list.mat; DataError if the file lacks one."""
    listed = [str(entry[0]) if len(entry) else "" for entry in _read_mat(names, "label_list").ravel()]
    found = {label: name for label, name in enumerate(listed) if name in CATEGORIES}
    if lacking := CATEGORIES - set(found.values()):
        raise DataError(f"{names}: names no label {', '.join(sorted(lacking))}; clone the repository again")
    return found


def objects(labels: np.ndarray, categories: dict[int, str]) -> list[tuple[int, np.ndarray]]:
    """(label, (H, W) bool) of each object in a label image (H, W).

    Connected parts (8-neighbours) below SMALLEST are dropped. Labels of PIECES give an object a part, others one.
    """
    found = []
    least = SMALLEST * labels.size
    for label in sorted(set(np.unique(labels).tolist()) & set(categories)):
        _, numbered, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=8)
        large = [n for n in range(1, len(stats)) if stats[n, cv2.CC_STAT_AREA] >= least]
        if categories[label] in PIECES:
            found += [(label, numbered == n) for n in large]
        elif large:
            found.append((label, np.isin(numbered, large)))
    return found


def _convert_photo(
    root: Path, folder: Path, categories: dict[int, str], number: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write the scaled photo; its image entry and its annotations, without ids."""
    labels, file = _read_mat(root / LABELS / f"{number}.mat", "groundtruth"), root / "photos" / f"{number}.jpg"
    photo = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if photo is None or photo.shape[:2] != labels.shape:
        size = "cannot be read" if photo is None else f"has {photo.shape[1]} x {photo.shape[0]} pixels"
        raise DataError(f"{file}: {size}, its label image {labels.shape[1]} x {labels.shape[0]}")
    scale = LONG_SIDE / max(labels.shape)
    height, width = (max(round(side * scale), 1) for side in labels.shape)
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / f"{number}.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 95])
    annotations = []
    for label, mask in objects(labels, categories):
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        scaled = share >= 0.5
        if scaled.any():
            annotations.append(
                {
                    "image_id": int(number),
                    "category_id": label,
                    "bbox": bounding_box(scaled),
                    "area": float(scaled.sum()),
                    "iscrowd": 0,
                    "segmentation": polygons(scaled),
                }
            )
    return {"id": int(number), "file_name": f"{number}.jpg", "width": width, "height": height}, annotations


def _read_mat(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path)[key]
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        raise DataError(f"{path}: no MATLAB file with '{key}' ({error}); clone the repository again") from None
