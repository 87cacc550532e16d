"""A results folder with runs as evaluation makes them: its files, from masks that are right to a chosen degree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from contrastmask.evaluation.coco_metrics import coco_metrics, mean_iou
from contrastmask.evaluation.evaluate import write_readings

SIZE = 160
CATEGORIES = ({"id": 3, "name": "cup"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "kite"})
NOVEL = {5, 9}


def rectangle(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    """Compressed RLE, as JSON takes it."""
    mask = np.zeros((SIZE, SIZE), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    encoded = rle.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def write_val(folder: Path, n_images: int = 24) -> None:
    """dataset.json and the val annotations it names: two objects an image, small to large; kites have none."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for id in range(100, 100 + n_images):
        images.append({"id": id, "file_name": f"{id}.jpg", "width": SIZE, "height": SIZE})
        for category in (3, 5):
            x, y, w, h = (int(v) for v in (*rng.integers(0, 20, 2), *rng.integers(20, 130, 2)))
            box = {"bbox": [x, y, w, h], "area": w * h, "segmentation": rectangle(x, y, w, h)}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": id, "category_id": category, "iscrowd": 0} | box
            )
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": list(CATEGORIES)}
    (data / "val.json").write_text(json.dumps(content))
    part = {"annotations": str(data / "val.json"), "images": str(data), "n_images": n_images}
    dataset = {"name": "made-up", "kind": "folder", "digest": "d1", "train": part, "val": part}
    (data / "dataset.json").write_text(json.dumps(dataset | {"categories": list(CATEGORIES)}))


def write_run(folder: Path, run: str, shift: float, seed: int = 0, config: dict[str, Any] | None = None) -> Path:
    """A run whose masks lie up to `shift` pixels off, boxes half as far, more or less by seed. Returns its folder."""
    truth = COCO(str(folder / "data" / "val.json"))
    rng = np.random.default_rng((seed, len(run)))
    detections, ious = [], []
    for a in truth.dataset["annotations"]:
        x, y, w, h = a["bbox"]
        off = int(rng.uniform(0, shift))
        mask = rectangle(x + off, y, w, h)
        ious.append((a["id"], a["category_id"], float(rle.iou([mask], [a["segmentation"]], [0])[0, 0])))
        found = {"image_id": a["image_id"], "category_id": a["category_id"], "score": float(rng.uniform())}
        detections.append(found | {"bbox": [x + off / 2, y, w, h], "segmentation": mask})
    place = folder / "runs" / run / f"seed{seed}"
    place.mkdir(parents=True)
    write_readings(place, detections, ious, truth)
    (place / "config.json").write_text(json.dumps(config or {"method": run}))
    (place / "metrics.json").write_text(json.dumps(_metrics(truth, run, seed, detections, ious)))
    return place


def _metrics(truth: COCO, run: str, seed: int, detections: list, ious: list) -> dict[str, Any]:
    ids = [c["id"] for c in CATEGORIES]
    subsets = {"novel": [i for i in ids if i in NOVEL], "base": [i for i in ids if i not in NOVEL], "all": ids}
    segm, bbox = (coco_metrics(truth, detections, iou_type=kind, subsets=subsets) for kind in ("segm", "bbox"))
    return {
        "run": run,
        "seed": seed,
        "data_digest": "d1",
        "segm": segm.by_subset,
        "bbox": bbox.by_subset,
        "gt_box_miou": mean_iou([(c, iou) for _, c, iou in ious], subsets).by_subset,
        "per_category": [
            c
            | {"split": "novel" if c["id"] in NOVEL else "base"}
            | {"segm_AP": segm.by_category[c["id"]], "bbox_AP": bbox.by_category[c["id"]]}
            for c in CATEGORIES
        ],
    }
