"""Average precision with COCOeval's semantics, over any number of category subsets, from one evaluation.

This is the evaluation protocol of the project (paper, section 4.1: COCO AP of the novel categories).
pycocotools does the matching; what is added here is the reduction over subsets, input checks whose messages
name the fault, and three guards against known traps of COCOeval:

* a ``bbox`` field in mask results makes the S/M/L ranges use the box area, so only the mask is handed over;
* annotation id 0 reads as "not matched", so annotations are renumbered from 1;
* no detection at all is a crash in ``COCO.loadRes``, here it is AP 0.
"""

import contextlib
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from contrastmask.data.categories import count_masks
from contrastmask.data.masks import box_polygon

IouType = Literal["segm", "bbox"]
Subsets = Mapping[str, Sequence[int]]

MAX_DETECTIONS = 100  # per image and category; the detector itself keeps 100 per image over all categories

# name -> (index of the IoU threshold in 0.50:0.05:0.95, or all of them; index of the area range all, S, M, L)
METRICS: dict[str, tuple[int | slice, int]] = {
    "AP": (slice(None), 0),
    "AP50": (0, 0),
    "AP75": (5, 0),
    "APs": (slice(None), 1),
    "APm": (slice(None), 2),
    "APl": (slice(None), 3),
}


class CocoMetrics(NamedTuple):
    """``by_subset[name]`` holds AP, AP50, AP75, APs, APm, APl; ``by_category[category id]`` holds AP.

    Fractions in [0, 1], never rounded; None where COCOeval says -1 (no ground truth to measure on).
    """

    by_subset: dict[str, dict[str, float | None]]
    by_category: dict[int, float | None]


class MeanIou(NamedTuple):
    """Mean mask IoU per subset and per category, fractions in [0, 1]; None where there was no instance."""

    by_subset: dict[str, float | None]
    by_category: dict[int, float | None]


def coco_metrics(
    ground_truth: COCO | str | Path, detections: Sequence[Mapping[str, Any]], *, iou_type: IouType, subsets: Subsets
) -> CocoMetrics:
    """Evaluate ``detections`` on every image and category of ``ground_truth``, once, and average per subset.

    Classes are matched separately, so averaging the slice of a subset is the same as running COCOeval with
    ``params.catIds`` set to it.

    ground_truth: COCO annotations, or the path of their file; left as it is.
    detections: COCO results, each with image_id, category_id, score and either ``segmentation`` (RLE of the
        image's size; "segm") or ``bbox`` ([x, y, w, h] in pixels; "bbox"). Other fields are ignored.
    subsets: name -> category ids.

    A category whose ground truth has boxes only has no mask AP: None, and a subset's mean is over its others.

    Raises ValueError, naming the entry, on an unknown image or category, a score or box that is not finite, a mask
    of another size than its image, a category with masks on some of its ground truth only.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        source = ground_truth if isinstance(ground_truth, COCO) else COCO(str(ground_truth))
        category_ids = sorted(source.getCatIds())
        for name, ids in subsets.items():
            if unknown := sorted(set(ids) - set(category_ids)):
                raise ValueError(f"subset '{name}' lists category ids that the ground truth lacks: {unknown}")
        evaluation = matches(source, detections, iou_type)
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # 10 IoUs, 101 recalls, categories by id, 4 areas; -1: no truth

    position = {category: k for k, category in enumerate(category_ids)}
    by_subset = {
        name: _reduce(precision[:, :, [position[c] for c in dict.fromkeys(ids)], :]) for name, ids in subsets.items()
    }
    by_category = {category: _reduce(precision[:, :, [k], :])["AP"] for category, k in position.items()}
    return CocoMetrics(by_subset, by_category)


def matches(ground_truth: COCO, detections: Sequence[Mapping[str, Any]], iou_type: IouType) -> COCOeval:
    """COCOeval after `evaluate()`: detections matched to objects, not yet accumulated.

    Raises ValueError as `coco_metrics` does.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = ground_truth.dataset.get("annotations", [])
        truth = _index(ground_truth.dataset, _with_masks(annotations) if iou_type == "segm" else annotations)
        results = _index(ground_truth.dataset, _results(truth, detections, iou_type))
        evaluation = COCOeval(truth, results, iou_type)
        evaluation.params.maxDets = [MAX_DETECTIONS]  # AP uses the largest only; 1 and 10 serve the recalls
        evaluation.evaluate()
    return evaluation


def mean_iou(ious: Iterable[tuple[int, float]], subsets: Subsets) -> MeanIou:
    """Average the mask IoUs of instances that were segmented given their ground-truth box and label.

    ious: one (category id, IoU) per instance. A subset's mean is over its *instances*: a frequent category
    weighs more than a rare one, unlike in AP. For a mean over categories, average ``by_category``.

    Raises ValueError on an IoU outside [0, 1].
    """
    rows = [(int(category), float(iou)) for category, iou in ious]
    for category, iou in rows:
        if not 0.0 <= iou <= 1.0:
            raise ValueError(f"mask IoU {iou} of category {category} is outside [0, 1]")

    def mean(categories: Collection[int]) -> float | None:
        found = [iou for category, iou in rows if category in categories]
        return math.fsum(found) / len(found) if found else None

    by_subset = {name: mean(set(ids)) for name, ids in subsets.items()}
    known = sorted({*(category for category, _ in rows), *(c for ids in subsets.values() for c in ids)})
    return MeanIou(by_subset, {c: mean({c}) for c in known})


def _index(dataset: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> COCO:
    """A COCO index over copies: COCOeval writes into annotations, and takes id 0 for "not matched"."""
    coco = COCO()
    coco.dataset = {
        "images": dataset["images"],
        "categories": dataset["categories"],
        "annotations": [{"iscrowd": 0, **a, "id": i} for i, a in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _with_masks(annotations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The annotations of categories with masks: the rest would crash COCOeval, and counts as nothing to find."""
    counts = count_masks(annotations)
    mixed = sorted(category for category, count in counts.items() if count.mixed)
    if mixed:
        raise ValueError(f"categories {mixed} of the ground truth have masks on some of their annotations only")
    return [
        a if a.get("segmentation") else {**a, "segmentation": box_polygon(a["bbox"])}  # a crowd
        for a in annotations
        if counts[a["category_id"]].masks
    ]


def _results(truth: COCO, detections: Sequence[Mapping[str, Any]], iou_type: IouType) -> list[dict[str, Any]]:
    """The checked detections with the one geometry field that counts and its area (pixels)."""
    field = {"segm": "segmentation", "bbox": "bbox"}[iou_type]
    for i, d in enumerate(detections):
        for key, known in (("image", truth.imgs), ("category", truth.cats)):
            if d[f"{key}_id"] not in known:
                raise ValueError(f"detection {i} has {key} id {d[f'{key}_id']}, which the ground truth lacks")
        numbers = [d["score"], *(d["bbox"] if iou_type == "bbox" else ())]
        if len(numbers) not in (1, 5) or not all(map(math.isfinite, numbers)):
            raise ValueError(f"detection {i} (image {d['image_id']}): score, box {numbers} are not finite numbers")
        if iou_type == "segm":
            _check_mask(i, d["segmentation"], truth.imgs[d["image_id"]])
    return [
        {
            "image_id": d["image_id"],
            "category_id": d["category_id"],
            "score": float(d["score"]),
            field: d[field],
            "area": float(rle.area(d[field]) if iou_type == "segm" else d[field][2] * d[field][3]),
        }
        for d in detections
    ]


def _check_mask(i: int, mask: Any, image: Mapping[str, Any]) -> None:
    """pycocotools gives IoU -1 to masks of unlike sizes without a word: say it instead."""
    if not isinstance(mask, Mapping) or not isinstance(mask.get("counts"), str | bytes):
        raise ValueError(f"detection {i} (image {image['id']}) has a segmentation that is not a compressed RLE")
    expected = [image["height"], image["width"]]
    if list(mask.get("size", [])) != expected:
        raise ValueError(f"detection {i} has a mask of size {mask.get('size')}, image {image['id']} is {expected}")


def _reduce(precision: np.ndarray) -> dict[str, float | None]:
    """COCOeval.summarize of a [10, 101, categories, 4] slice: the mean of the entries that are not -1."""
    metrics: dict[str, float | None] = {}
    for name, (threshold, area) in METRICS.items():
        values = precision[threshold, ..., area]
        measured = values[values > -1]
        metrics[name] = float(measured.mean()) if measured.size else None
    return metrics
