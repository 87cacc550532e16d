"""Evaluate Mask GrabCut: behind `contrastmask evaluate` for a run that reads a detector's results.

Nothing is trained. The final detections of the run's detector, which has been evaluated before, are read again, and
each box of a novel class gets GrabCut's mask; so do the ground truth's boxes. Writes what any evaluation writes, by the
same protocol. Masks do not depend on the number of threads.
"""

import gzip
import json
import time
import zlib
from collections import defaultdict
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2

from contrastmask.config.options import GrabCutOptions
from contrastmask.data.images import read_verified
from contrastmask.data.normalise import Originals
from contrastmask.errors import ConfigError
from contrastmask.evaluation.evaluate import encode, gt_box_ious, recorded, summary, usable, write_readings
from contrastmask.evaluation.grabcut_box import segment
from contrastmask.evaluation.look import corners
from contrastmask.runtime.locks import Interrupted, Stop
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.curves import Curves
from contrastmask.training.record import record_run
from contrastmask.training.run import Run

Box = list[float]  # x, y, w, h in pixels
Rle = dict[str, Any]
Task = tuple[Path, tuple[int, int], list[Box]]
"""An image, its height and width in pixels, and the boxes to segment in it."""


def read_detector(run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the detector's own evaluation left: the content of metrics.json, and COCO results.

    Raises:
        ConfigError: they are missing, damaged or not those meant; with the fix.
    """
    folder, name = run.file("detector"), f"{run.config['detector']['run']}, seed {run.seed}"
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        with gzip.open(folder / "detections.json.gz", "rt") as file:
            detections = json.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{error.filename} is missing: train and evaluate {name}, first") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ConfigError(
            f"{folder}: metrics.json or detections.json.gz is damaged ({error}); evaluate again"
        ) from None
    meant = {"config_hash": run.config["detector"]["config_hash"], "data_digest": run.dataset["digest"]}
    for key, value in meant.items():
        if metrics.get(key) != value:
            raise ConfigError(
                f"{folder / 'metrics.json'}: its {key} is {metrics.get(key)}, config.json asks for {value}: "
                f"use the settings that {name} was made with, or make it again"
            )
    return metrics, detections


def evaluate(
    run: Run, detector: dict[str, Any], detections: list[dict[str, Any]], threads: int, stop: Stop
) -> dict[str, Any]:
    """Segment and measure; returns the content of metrics.json. `detector` is that of the detector's."""
    from pycocotools.coco import COCO

    started = time.monotonic()
    truth = COCO(run.dataset["val"]["annotations"])
    found, ious = predict(run, truth, Originals(truth).our_detections(detections), threads, stop)
    write_readings(run.folder, [d for d in found if "segmentation" in d], ious, truth)
    checkpoint = detector["checkpoint_sha256"]
    measured = summary(run, truth, found, ious, checkpoint=checkpoint, started=started, masked=["novel"])
    return measured | {"detector": detector["run"]}


def predict(
    run: Run, truth: Any, detections: list[dict[str, Any]], threads: int, stop: Stop
) -> tuple[list[dict[str, Any]], list[tuple[int, int, float]]]:
    """The detections in their order, those of novel classes with GrabCut's mask and the others without one; and
    (annotation id, category id, IoU) of its masks in the ground truth's boxes of novel classes."""
    novel = set(run.split["novel"])
    bare = [{key: value for key, value in each.items() if key != "segmentation"} for each in detections]
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for detection in bare:
        if detection["category_id"] in novel:
            found[detection["image_id"]].append(detection)
    given = {
        image: [a for a in truth.imgToAnns[image] if a["category_id"] in novel and usable(a)] for image in truth.imgs
    }
    tasks: list[Task] = [
        (
            Path(run.dataset["val"]["images"]) / info["file_name"],
            (info["height"], info["width"]),
            [each["bbox"] for each in (*found[image], *given[image])],
        )
        for image, info in truth.imgs.items()
    ]
    ious = []
    progress = Progress("image", len(tasks))
    with progress, closing(segment_images(tasks, GrabCutOptions(**run.config["options"]), threads)) as segmented:
        for done, (image, masks) in enumerate(zip(truth.imgs, segmented, strict=True), start=1):
            if stop.requested:
                raise Interrupted(stop.signum)
            own = len(found[image])
            for detection, mask in zip(found[image], masks[:own], strict=True):
                detection["segmentation"] = mask
            ious += gt_box_ious(masks[own:], given[image], truth)
            progress.update(done)
    return bare, ious


# ---------------------------------------------------------------------------- images, in several threads


def segment_images(tasks: Sequence[Task], options: GrabCutOptions, threads: int) -> Generator[list[Rle], None, None]:
    """The masks of each task, in order. Closed early, it waits for those that were begun."""
    cv2.setNumThreads(1)  # the images are the parallelism
    with ThreadPoolExecutor(threads) as pool:  # OpenCV does not hold Python's lock
        yield from pool.map(lambda task: segment_image(task, options), tasks)


def segment_image(task: Task, options: GrabCutOptions) -> list[Rle]:
    """One mask for each box of an image; DataError if the image cannot be read or has another size."""
    path, (height, width), boxes = task
    if not boxes:
        return []
    image = read_verified(path, (width, height))
    return [encode(segment(image, (x1, y1, x2, y2), options)) for x1, y1, x2, y2 in map(corners, boxes)]


# ---------------------------------------------------------------------------- the evaluation


def start(run: Run, threads: int) -> dict[str, Any]:
    """Evaluate with everything written and tracked; returns the content of metrics.json.

    Raises:
        ConfigError: the detector's results are missing or not those meant.
        DataError: an image cannot be read.
    """
    detector, detections = read_detector(run)
    source = run.config["detector"]

    def measure(tracker: Curves, stop: Stop) -> dict[str, Any]:
        record_run(run, tracker, {"detector": source["run"]})
        checkpoint = detector["checkpoint_sha256"]
        tracker.tags({"detector.config_hash": source["config_hash"], "checkpoint.sha256": checkpoint})
        return evaluate(run, detector, detections, threads, stop)

    return recorded(run, measure, step=0, gpus=0)
