"""What a trained network makes of a few novel val objects in their true boxes, kept as arrays for the report's figures.

examples.npz in a run's folder has, for each object by its annotation id: `mask`, (h, w) bool, the mask branch's mask
cut to the true box; and for a network with a class activation map `cam`, (S, S) in [0, 1], and its areas `foreground`
and `background`, (S, S) bool, as in training.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.errors import DataError

FILE = "examples.npz"
OBJECTS = 2  # of each image
Array = np.ndarray


def is_object(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is one object with a box of at least a pixel."""
    return not annotation.get("iscrowd") and min(annotation["bbox"][2:]) >= 1


def largest(annotations: Iterable[dict[str, Any]], categories: Sequence[int], number: int = OBJECTS) -> list[dict]:
    """The `number` objects of these categories with the largest boxes, by falling area, then by id."""
    mine = [a for a in annotations if a["category_id"] in categories and is_object(a)]
    return sorted(mine, key=lambda a: (-a["bbox"][2] * a["bbox"][3], a["id"]))[:number]


def crop(image: Array, bbox: Sequence[float]) -> Array:
    """The pixels of (H, W, ...) that a box x, y, w, h touches: at least one."""
    x, y, w, h = bbox
    top, left = min(int(y), image.shape[0] - 1), min(int(x), image.shape[1] - 1)
    return image[top : max(int(np.ceil(y + h)), top + 1), left : max(int(np.ceil(x + w)), left + 1)]


def write_examples(run: Any, images: Sequence[int]) -> Path:
    """Write a trained run's examples of the largest novel objects of these val images; returns the file.

    Args:
        run: with `folder`, `dataset`, `split` and what look.trained_model reads.
        images: ids.
    """
    import torch
    from mmdet.structures.bbox import bbox2roi
    from pycocotools.coco import COCO

    from contrastmask.evaluation.gt_boxes import see, trained_model, val_samples

    truth = COCO(run.dataset["val"]["annotations"])
    model, sample_of = trained_model(run), val_samples(run)
    ids = [category["id"] for category in run.dataset["categories"]]
    arrays: dict[str, Array] = {}
    for image in images:
        objects = largest(truth.imgToAnns[image], run.split["novel"])
        if not objects:
            continue
        with torch.no_grad():
            seen = see(model, sample_of(image))
            masks = seen.masks_in_boxes(model, objects, ids).cpu().numpy().astype(bool)
            maps: dict[str, Any] = {}
            if hasattr(model.roi_head, "pseudo_masks"):
                rois, labels = bbox2roi([seen.boxes(objects)]), seen.labels(objects, ids)
                cams, regions = model.roi_head.pseudo_masks(seen.features, rois, labels)
                maps = {"cam": cams, "foreground": regions.foreground, "background": regions.background}
        for i, a in enumerate(objects):
            arrays[f"{a['id']}/mask"] = crop(masks[i], a["bbox"])
            arrays |= {f"{a['id']}/{name}": values[i].cpu().numpy() for name, values in maps.items()}
    file, temporary = run.folder / FILE, run.folder / f"tmp.{FILE}"
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    return temporary.replace(file)


def read_examples(folder: Path) -> dict[int, dict[str, Array]]:
    """The arrays of each object, by annotation id; DataError if the file is missing or damaged."""
    found: dict[int, dict[str, Array]] = {}
    try:
        with np.load(folder / FILE, allow_pickle=False) as content:
            for key in content.files:
                object_id, name = key.split("/")
                found.setdefault(int(object_id), {})[name] = content[key]
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{folder / FILE} cannot be read ({error}): draw the figure again") from None
    return found
