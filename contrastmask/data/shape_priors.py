"""`shape_priors`: the typical outlines of a setting's base masks, clustered before ShapeMask is trained.

Each base mask is cropped to its tight box and resized to 32 x 32; the K centres of k-means over these are the priors
(ShapeMask, arXiv 1904.03239). Classes do not enter. The annotations are those without novel masks.

The masks of COCO's train2017 fill some hundred MB as bytes; only a batch at a time becomes floating-point numbers.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from contrastmask.data.masks import to_rle
from contrastmask.errors import DataError
from contrastmask.runtime.files import parse_coco, read_coco_bytes, write_json

SIZE = 32  # pixels of a prior's side
SEED = 0
BATCH = 4096  # masks of one k-means step
PASSES = 10  # over all masks


def write_priors(annotations: Path, split_json: Path, number: int, min_area: int, out: Path) -> dict[str, Any]:
    """Write the priors (K, 32, 32) float32 in [0, 1] as `out` and a record beside it as .json, which is returned.

    Args:
        annotations: a split's training annotations, without novel masks.
        split_json: of that split.
        number: K.
        min_area: a mask must have more pixels than this.
        out: .npz with the array `priors`.

    Raises:
        DataError: no mask is large enough, or a file is not usable.
    """
    split = parse_coco(read_coco_bytes(split_json), split_json)
    shapes = base_shapes(parse_coco(read_coco_bytes(annotations), annotations), set(split["base"]), min_area)
    if len(shapes) == 0:
        raise DataError(
            f"{annotations}: no base mask has more than {min_area} pixels, so there are no shape priors; "
            "lower the option prior_min_area"
        )
    priors, inertia = cluster(shapes, number)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, priors=priors)
    temporary.replace(out)
    record = {
        "setting": split["setting"],
        "split_digest": split["digest"],
        "priors": number,
        "prior_min_area": min_area,
        "masks": len(shapes),
        "distinct_masks_suffice": inertia is not None,
        "inertia": inertia,
        "seed": SEED,
        "digest": hashlib.sha256(priors.tobytes()).hexdigest()[:32],
    }
    write_json(out.with_suffix(".json"), record)
    return record


def read_priors(path: Path) -> np.ndarray:
    """The priors (K, 32, 32) that `write_priors` wrote; DataError if the file is missing or something else."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return content["priors"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: no shape priors ({error}); make them with `snakemake --cores 1 {path}`") from error


# ---------------------------------------------------------------------------- masks


def base_shapes(coco: dict[str, Any], base: set[int], min_area: int) -> np.ndarray:
    """(N, 1024) uint8: base masks of more than `min_area` pixels, in their tight boxes, 255 where full; no crowds."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in coco["images"]}
    found = bytearray()
    for annotation in coco["annotations"]:
        if annotation["category_id"] in base and not annotation.get("iscrowd"):
            shape = _shape(annotation["segmentation"], *sizes[annotation["image_id"]], min_area)
            if shape is not None:
                found += shape.tobytes()
    return np.frombuffer(found, np.uint8).reshape(-1, SIZE * SIZE)


def _shape(segmentation: Any, height: int, width: int, min_area: int) -> np.ndarray | None:
    """(32, 32) uint8 of COCO polygons or RLE; None if the mask is too small."""
    rle = to_rle(segmentation, height, width)
    if coco_mask.area(rle) <= min_area:
        return None
    x, y, w, h = (int(v) for v in coco_mask.toBbox(rle))
    tight = coco_mask.decode(rle)[y : y + h, x : x + w]
    return cv2.resize(255 * tight, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


# ---------------------------------------------------------------------------- k-means


def cluster(shapes: np.ndarray, number: int) -> tuple[np.ndarray, float | None]:
    """K priors (K, 32, 32) float32 in [0, 1], and the mean squared distance of a shape (N, 1024) to the nearest.

    With no more than K distinct shapes, each is a prior, repeated in turn until there are K; the distance is None.
    """
    distinct = _first_distinct(shapes, number + 1)
    if len(distinct) <= number:
        priors, inertia = np.resize(distinct, (number, SIZE * SIZE)) / np.float32(255), None
    else:
        priors, inertia = _k_means(shapes, number)
    return priors.reshape(-1, SIZE, SIZE).astype(np.float32), inertia


def _first_distinct(shapes: np.ndarray, at_most: int) -> np.ndarray:
    """The first different rows, in order; looks no further than it must."""
    rows: dict[bytes, int] = {}
    for row, shape in enumerate(shapes):
        rows.setdefault(shape.tobytes(), row)
        if len(rows) == at_most:
            break
    return shapes[list(rows.values())]


def _k_means(shapes: np.ndarray, number: int) -> tuple[np.ndarray, float]:
    """Centres (K, 1024), and the mean squared distance of a shape to the nearest."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(number, random_state=SEED)
    generator = np.random.default_rng(SEED)
    size = max(BATCH, 3 * number)  # the first batch gives the first centres
    for _ in range(PASSES):
        for batch in _batches(shapes, generator.permutation(len(shapes)), size):
            model.partial_fit(batch)
    total = sum(-model.score(batch) for batch in _batches(shapes, np.arange(len(shapes)), size))
    return model.cluster_centers_.clip(0, 1), float(total / len(shapes))


def _batches(shapes: np.ndarray, order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """At most `size` rows at a time, as fractions."""
    for start in range(0, len(order), size):
        yield shapes[order[start : start + size]] / np.float32(255)
