"""Evaluate one trained run: behind `contrastmask evaluate`.

The protocol is the same for every system (docs/protocol.md): the last checkpoint, detection over all categories,
COCOeval per subset of categories. Beside it the mask branch is read alone: masks in ground-truth boxes with
ground-truth labels, compared by IoU. Writes metrics.json, detections.json.gz and gt_box_iou.csv.
"""

import csv
import gzip
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrastmask.data.categories import count_masks
from contrastmask.data.normalise import Originals
from contrastmask.errors import ConfigError
from contrastmask.evaluation.coco_metrics import coco_metrics, mean_iou
from contrastmask.evaluation.gt_boxes import see, trained_model
from contrastmask.runtime.files import atomic_writer, check_unchanged, read_record, write_json
from contrastmask.runtime.gpu import lease
from contrastmask.runtime.locks import Interrupted, RunLock, Stop, on_signals
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.curves import LOCK_NAME, Curves
from contrastmask.tracking.sync import live
from contrastmask.training.run import Run

SUBSETS = ("novel", "base", "all")


def evaluate(run: Run, stop: Stop) -> dict[str, Any]:
    """Measure a run's final weights on val; returns the content of metrics.json."""
    from pycocotools.coco import COCO

    from contrastmask.training.checkpoint import sha256
    from contrastmask.training.failures import readable

    started = time.monotonic()
    check_unchanged(Path(run.dataset["val"]["annotations"]), run.dataset["val"]["sha256"], run.file("dataset"))
    truth = COCO(run.dataset["val"]["annotations"])
    with readable():
        detections, ious = predict(run, truth, stop)
    write_readings(run.folder, detections, ious, truth)
    return summary(run, truth, detections, ious, checkpoint=sha256(run.folder / "model.pth"), started=started)


def summary(
    run: Run,
    truth: Any,
    detections: list[dict[str, Any]],
    ious: list[tuple[int, int, float]],
    *,
    checkpoint: str,
    started: float,
    masked: Collection[str] = SUBSETS,
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        truth: pycocotools' COCO of val.
        detections: entries of COCO's result format; those without `segmentation` count as boxes only.
        ious: (annotation id, category id, IoU) of the masks in ground-truth boxes.
        checkpoint: sha256 of the weights that detected.
        started: of time.monotonic.
        masked: the subsets that were segmented; mask numbers of the others are null.
    """
    untrained = set(run.split.get("untrained", ()))  # it cannot be found, whatever the method: no number is of it
    subsets = {name: [c for c in run.split[name] if c not in untrained] for name in ("novel", "base")}
    subsets["all"] = [c["id"] for c in run.dataset["categories"] if c["id"] not in untrained]
    segm = coco_metrics(truth, [d for d in detections if "segmentation" in d], iou_type="segm", subsets=subsets)
    bbox = coco_metrics(truth, detections, iou_type="bbox", subsets=subsets)
    given = mean_iou([(category, iou) for _, category, iou in ious], subsets)
    for name in set(SUBSETS) - set(masked):
        segm.by_subset[name] = dict.fromkeys(segm.by_subset[name])
        given.by_subset[name] = None
    unmasked = {c for name in ("novel", "base") if name not in masked for c in subsets[name]}
    masks = {c: ap for c, ap in segm.by_category.items() if c not in unmasked}
    by_category = {"segm_AP": masks, "bbox_AP": bbox.by_category, "gt_box_miou": given.by_category}
    return {
        "run": run.id,
        "seed": run.seed,
        "scale": run.scale,
        "preset": run.decided["preset"],
        "config_hash": run.config_hash,
        "checkpoint_sha256": checkpoint,
        "data_digest": run.dataset["digest"],
        "n_images": len(truth.imgs),
        "seconds": time.monotonic() - started,
        "segm": segm.by_subset,
        "bbox": bbox.by_subset,
        "gt_box_miou": given.by_subset,
        "unmeasured": unmeasured(truth, subsets),
        "per_category": per_category(run, by_category),
    }


def per_category(run: Run, numbers: Mapping[str, Mapping[int, float | None]]) -> list[dict[str, Any]]:
    """What metrics.json says of each category; `numbers` are by name and category id."""
    return [
        {
            "id": category["id"],
            "name": category["name"],
            "split": "novel" if category["id"] in run.split["novel"] else "base",
            **{name: of.get(category["id"]) for name, of in numbers.items()},
            "trained": category["id"] not in run.split.get("untrained", ()),
        }
        for category in run.dataset["categories"]
    ]


def unmeasured(truth: Any, subsets: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Of each subset whose mask AP cannot be measured on val, the reason."""
    counts = count_masks(truth.anns.values())
    reasons = {}
    for name, categories in subsets.items():
        found = [counts[c] for c in categories if c in counts]
        if not categories:
            reasons[name] = "never trained"
        elif not any(count.annotations for count in found):
            reasons[name] = "no objects in val"
        elif not any(count.masks for count in found):
            reasons[name] = "no masks in val"
    return reasons


def predict(run: Run, truth: Any, stop: Stop) -> tuple[list[dict[str, Any]], list[tuple[int, int, float]]]:
    """COCO results of every val image, and (annotation id, category id, IoU) of the masks in ground-truth boxes."""
    import torch

    from contrastmask.training.build import build_dataset

    model = trained_model(run)
    dataset = build_dataset(run.config, run.dataset, "val")
    loader = torch.utils.data.DataLoader(dataset, num_workers=run.decided["workers"], collate_fn=list)
    categories = [category["id"] for category in run.dataset["categories"]]
    detections, ious = [], []
    with Progress("image", len(dataset)) as progress:
        for done, samples in enumerate(loader, start=1):
            if stop.requested:
                raise Interrupted(stop.signum)
            found, given = predict_image(model, samples[0], truth, categories)
            detections += found
            ious += given
            progress.update(done)
    return detections, ious


def predict_image(
    model: Any, sample: dict[str, Any], truth: Any, categories: list[int]
) -> tuple[list[dict[str, Any]], list[tuple[int, int, float]]]:
    """One image through the detector, its features used twice: for detections and for the ground truth's boxes.

    Args:
        model: the detector.
        sample: of the test pipeline.
        truth: pycocotools' COCO of val.
        categories: category id of each label.
    """
    import torch

    with torch.no_grad():
        image = see(model, sample)
        # proposals of a two-stage detector, detections of a single-stage one, whose RoI head only segments them
        first = model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head
        found = first.predict(image.features, image.samples, rescale=False)
        result = model.roi_head.predict(image.features, found, image.samples, rescale=True)[0].cpu()
        annotations = [a for a in truth.imgToAnns[image.meta["img_id"]] if usable(a)]
        given = image.masks_in_boxes(model, annotations, categories).cpu() if annotations else []
    ious = gt_box_ious([encode(mask) for mask in given], annotations, truth)
    return coco_results(result, image.meta["img_id"], categories), ious


def usable(annotation: dict[str, Any]) -> bool:
    """Whether an annotation is an object with a mask to compare with."""
    return not annotation.get("iscrowd") and bool(annotation.get("segmentation")) and min(annotation["bbox"][2:]) > 0


def coco_results(result: Any, image_id: int, categories: list[int]) -> list[dict[str, Any]]:
    """mmdet's detections of an image as entries of COCO's result format."""
    boxes, scores, labels = result.bboxes.tolist(), result.scores.tolist(), result.labels.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": categories[label],
            "score": score,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "segmentation": encode(mask),
        }
        for (x1, y1, x2, y2), score, label, mask in zip(boxes, scores, labels, result.masks, strict=True)
    ]


def encode(mask: Any) -> dict[str, Any]:
    """Compressed RLE, as JSON takes it, of a (H, W) bool array or tensor on the CPU."""
    import numpy as np
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def gt_box_ious(
    masks: Sequence[dict[str, Any]], annotations: list[dict[str, Any]], truth: Any
) -> list[tuple[int, int, float]]:
    """(annotation id, category id, IoU) of each mask, an RLE, with its annotation's."""
    from pycocotools import mask as coco_mask

    return [
        (a["id"], a["category_id"], float(coco_mask.iou([mask], [truth.annToRLE(a)], [0])[0, 0]))
        for mask, a in zip(masks, annotations, strict=True)
    ]


def write_readings(
    folder: Path, detections: list[dict[str, Any]], ious: list[tuple[int, int, float]], truth: Any
) -> None:
    """The per-image readings behind the metrics, for whoever wants to look closer or to bootstrap.

    Ids are those of the person's annotation file, of which `truth` is pycocotools' COCO.
    """
    originals = Originals(truth)
    draft = folder / "detections.json.gz.tmp"
    with gzip.open(draft, "wt") as packed:
        json.dump(originals.detections(detections), packed)
    draft.replace(folder / "detections.json.gz")
    with atomic_writer(folder / "gt_box_iou.csv") as file:
        writer = csv.writer(file)
        writer.writerow(("annotation_id", "category_id", "iou"))
        writer.writerows(originals.readings(ious))


def logged(metrics: dict[str, Any]) -> dict[str, float]:
    """The scalars of metrics.json that MLflow shows, under the same values."""
    values = {
        f"{kind}/{subset}/{name}": value
        for kind in ("segm", "bbox")
        for subset, numbers in metrics[kind].items()
        for name, value in numbers.items()
    }
    values |= {f"gt_box_miou/{subset}": value for subset, value in metrics["gt_box_miou"].items()}
    return {name: value for name, value in values.items() if value is not None}


def headline(metrics: dict[str, Any]) -> str:
    """What an evaluation says at its end: AP x 100 of masks and of boxes on novel categories."""
    found = {kind: metrics[kind]["novel"]["AP"] for kind in ("segm", "bbox")}
    texts = (f"{k} AP " + ("not measured" if v is None else f"{100 * v:.2f}") for k, v in found.items())
    return f"{metrics['run']} seed {metrics['seed']}: novel {', '.join(texts)}"


def start(run: Run, threads: int | None = None) -> dict[str, Any]:
    """Evaluate a run with everything written and tracked; returns the content of metrics.json.

    A run that is trained is measured on a GPU if there is one; one that segments another run's detections on the CPU,
    in `threads` (those of config.json if None).

    Raises:
        ConfigError: the run is not trained, or the detections that it reads are not there.
        DataError: its record or the val data is damaged.
        GpuError: no GPU can be had.
    """
    if run.decided["files"]["detector"]:
        from contrastmask.evaluation import grabcut

        return grabcut.start(run, threads or run.decided["threads"])
    if not (run.folder / "model.pth").exists():
        raise ConfigError(f"{run.folder / 'model.pth'} is missing: train the run first")
    record = read_record(run.folder / "train.json", {"iterations": int})
    return recorded(run, lambda tracker, stop: evaluate(run, stop), step=record["iterations"], gpus=1)


def recorded(run: Run, measure: Callable[[Curves, Stop], dict[str, Any]], step: int, gpus: int) -> dict[str, Any]:
    """What `measure` returns, the content of metrics.json, written and tracked: under the run's lock, with its GPUs."""
    with RunLock(run.work / LOCK_NAME), lease(gpus), on_signals() as stop:
        tracker = Curves(run.folder, run.title)
        with live(run.folder), tracker.session("evaluate"):
            val = run.dataset["val"]["annotations"]
            tracker.dataset(run.dataset["name"], run.dataset["digest"], val, "evaluation")
            metrics = measure(tracker, stop)
            tracker.metrics(logged(metrics), step=step, final=True)
            tracker.table("per_category.json", metrics["per_category"])
            write_json(run.folder / "metrics.json", metrics)
    return metrics
