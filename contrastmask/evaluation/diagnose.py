"""Look at a trained ContrastMask's prior on val objects: behind `contrastmask diagnose`.

In ground-truth boxes with ground-truth labels: does the box head know the class, are the CAM's confident areas right,
do features tell an object from its surroundings, are they of the CAM's size, and what would the shared queries alone
segment. Writes prior.csv, a line an object; prior.py has the means.
"""

import math
from typing import Any

import pandas as pd

from contrastmask.errors import ConfigError
from contrastmask.evaluation.evaluate import usable
from contrastmask.evaluation.gt_boxes import corners, see, trained_model
from contrastmask.evaluation.prior import COLUMNS
from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.gpu import lease
from contrastmask.runtime.progress import Progress
from contrastmask.training.run import Run


def diagnose(run: Run) -> list[dict[str, Any]]:
    """The lines of prior.csv: one for each annotated val object that has a mask.

    Raises:
        ConfigError: the run is not trained, or has no class activation map.
    """
    from pycocotools.coco import COCO

    from contrastmask.models.contrastmask.roi_head import ContrastMaskRoIHead
    from contrastmask.training.build import build_dataset

    if not (run.folder / "model.pth").exists():
        raise ConfigError(f"{run.folder / 'model.pth'} is missing: train the run first")
    model = trained_model(run)
    if not isinstance(model.roi_head, ContrastMaskRoIHead):
        raise ConfigError(f"{run.id} has no prior to look at: give a run of method contrastmask")
    truth = COCO(run.dataset["val"]["annotations"])
    dataset = build_dataset(run.config, run.dataset, "val")
    lines = []
    with Progress("image", len(dataset)) as progress:
        for number in range(len(dataset)):
            sample = dataset[number]
            objects = [a for a in truth.imgToAnns[sample["data_samples"].img_id] if usable(a)]
            if objects:
                lines += _of_image(model, sample, objects, truth, run)
            progress.update(number + 1)
    return lines


def _of_image(model: Any, sample: dict[str, Any], objects: list[dict], truth: Any, run: Run) -> list[dict[str, Any]]:
    """The lines of an image's objects, whose queries are shared among them as those of a batch are in training."""
    import torch
    from mmdet.structures.bbox import bbox2roi

    from contrastmask.evaluation import prior_quality as quality
    from contrastmask.models.contrastmask.keys import partition

    ids = [category["id"] for category in run.dataset["categories"]]
    is_base = torch.tensor([a["category_id"] in set(run.split["base"]) for a in objects])
    with torch.no_grad():
        image = see(model, sample)
        labels = image.labels(objects, ids)
        found = model.roi_head.features_in_boxes(image.features, bbox2roi([image.boxes(objects)]), labels)
        seen = {name: value.cpu() for name, value in found.items()}
        right = (seen["predicted"] == labels.cpu()).tolist()
        masks = _true_masks(objects, truth, seen["cam"].shape[-1])
        options = model.roi_head.options
        areas = partition(masks, torch.zeros_like(is_base), seen["cam"], options)  # the CAM's, for base as well
        pixels = quality.right_pixels(areas, masks)
        numbers = {
            **dict(zip(("fg", "fg_right", "bg", "bg_right"), pixels, strict=True)),
            "cam_iou": quality.iou(seen["cam"] > 0.5, masks),
            "std_X": seen["X"].flatten(1).std(dim=1),
            "std_A": seen["cam"].flatten(1).std(dim=1),
            **{f"cos_{n}": quality.separation(seen[n], masks) for n in ("X", "Y") if n in seen},
        }
        if "Z" in seen:
            as_map = seen["Z"].transpose(1, 2).reshape(len(objects), -1, *masks.shape[1:])
            numbers["cos_Z"] = quality.separation(as_map, masks)
            drawn = quality.prototype_masks(seen["Z"], partition(masks, is_base, seen["cam"], options), options)
            numbers["prototype_iou"] = torch.full_like(numbers["cam_iou"], math.nan) if drawn is None else quality.iou(
                drawn, masks
            )  # fmt: skip
    return [
        {
            "annotation_id": a["id"],
            "category_id": a["category_id"],
            "split": "base" if is_base[i] else "novel",
            "class_right": int(right[i]),
            **{name: value[i].item() for name, value in numbers.items()},
        }
        for i, a in enumerate(objects)
    ]


def _true_masks(objects: list[dict], truth: Any, size: int) -> Any:
    """(R, size, size) bool: the objects' masks in their boxes, by the same crop as the targets of training."""
    import numpy as np
    import torch
    from mmdet.structures.mask import BitmapMasks

    full = np.stack([truth.annToMask(a) for a in objects])
    boxes = np.array([corners(a["bbox"]) for a in objects], np.float32)
    cropped = BitmapMasks(full, *full.shape[1:]).crop_and_resize(boxes, (size, size), np.arange(len(full)))
    return torch.from_numpy(cropped.to_ndarray() > 0.5)


def start(run: Run) -> pd.DataFrame:
    """Lease a GPU, look, write prior.csv; returns its lines."""
    with lease(1):
        lines = pd.DataFrame(diagnose(run), columns=[*COLUMNS])
    with atomic_writer(run.folder / "prior.csv") as file:
        lines.to_csv(file, index=False)
    return lines
