"""Evaluate Mask GrabCut: behind `contrastmask evaluate` for a run that reads a detector's results.

Nothing is trained. The final detections of the run's detector, which has been evaluated before, are read again, and
each box of a novel class gets GrabCut's mask; so do the ground truth's boxes. Writes what any evaluation writes, by the
same protocol. Masks do not depend on the number of threads. Neither torch nor mmdet is imported.

All of the procedure (a mask from a box and the image's colours) is a reconstruction: configs/methods/mask-grabcut.py.
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
import numpy as np

from contrastmask.config.options import GrabCutOptions
from contrastmask.data.images import read_verified
from contrastmask.data.normalise import Originals
from contrastmask.errors import ConfigError
from contrastmask.evaluation.evaluate import encode, gt_box_ious, recorded, summary, usable, write_readings
from contrastmask.evaluation.gt_boxes import corners
from contrastmask.runtime.locks import Interrupted, Stop
from contrastmask.runtime.progress import Progress
from contrastmask.runtime.provenance import provenance
from contrastmask.tracking.curves import Curves
from contrastmask.training.record import record_run
from contrastmask.training.run import Run

MIN_MARGIN = 16  # pixels
SHRINK = 2  # pixels by which a box that leaves no background gives way on each side
MIN_SIDE = 3  # pixels; colour models of less are noise
MIN_SHARE = 0.01  # of the box; less foreground than this is a failure

Box = list[float]  # x, y, w, h in pixels
Rle = dict[str, Any]
Task = tuple[Path, tuple[int, int], list[Box]]
"""An image, its height and width in pixels, and the boxes to segment in it."""
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two exclusive


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
    write_readings(run.folder, found, ious, truth)
    checkpoint = detector["checkpoint_sha256"]
    measured = summary(run, truth, found, ious, checkpoint=checkpoint, started=started, masked=["novel"])
    made = {"split_digest": run.split["digest"], "code_digest": run.code, "provenance": provenance()}  # no train.json
    return measured | made | {"detector": detector["run"]}


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


# ---------------------------------------------------------------------------- a mask from a box


def segment(image: np.ndarray, box: tuple[float, float, float, float], options: GrabCutOptions) -> np.ndarray:
    """Mask of the object in a box; the box itself where GrabCut cannot tell object from background.

    The same arguments give the same mask, whatever was segmented before.

    Args:
        image: (H, W, 3) uint8, BGR.
        box: x1, y1, x2, y2 in pixels; parts outside the image are ignored.

    Returns:
        (H, W) bool, False outside the box.
    """
    height, width = image.shape[:2]
    rectangle = pixels(box, height, width)
    crop = surroundings(rectangle, height, width, options.margin)
    found = cut(image[slices(crop)], within(inner(rectangle, crop), crop), options.iterations)
    mask = np.zeros((height, width), bool)
    if found is None:
        mask[slices(rectangle)] = True
    else:
        mask[slices(crop)] = found
    return mask


def cut(crop: np.ndarray, rectangle: Rectangle, iterations: int) -> np.ndarray | None:
    """GrabCut started from a rectangle, all outside of which is background; None where it fails.

    Args:
        crop: (h, w, 3) uint8.
        rectangle: in the crop, and smaller than it.

    Returns:
        (h, w) bool: certain and probable foreground, which lies in the rectangle.
    """
    left, top, right, bottom = rectangle
    if min(right - left, bottom - top) < MIN_SIDE:
        return None
    labels = np.zeros(crop.shape[:2], np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # OpenCV's colour models, filled in place
    cv2.setRNGSeed(0)  # it starts the colour models by k-means from random centres
    try:
        cv2.grabCut(
            np.ascontiguousarray(crop), labels, (left, top, right - left, bottom - top), background, foreground,
            iterations, cv2.GC_INIT_WITH_RECT,
        )  # fmt: skip
    except cv2.error:
        return None
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return found if found.sum() >= MIN_SHARE * (right - left) * (bottom - top) else None


# ---------------------------------------------------------------------------- rectangles


def pixels(box: tuple[float, float, float, float], height: int, width: int) -> Rectangle:
    """The pixels whose centres lie in a box, as far as the image reaches; empty at its border if there are none."""
    x1, y1, x2, y2 = box
    columns, rows = np.rint(np.clip((x1, x2), 0, width)), np.rint(np.clip((y1, y2), 0, height))
    return int(columns[0]), int(rows[0]), int(columns[1]), int(rows[1])


def surroundings(rectangle: Rectangle, height: int, width: int, margin: float) -> Rectangle:
    """A rectangle with `margin` of its width and height more on each side, at least MIN_MARGIN, within the image."""
    left, top, right, bottom = rectangle
    x, y = (max(MIN_MARGIN, round(margin * side)) for side in (right - left, bottom - top))
    return max(left - x, 0), max(top - y, 0), min(right + x, width), min(bottom + y, height)


def inner(rectangle: Rectangle, crop: Rectangle) -> Rectangle:
    """The rectangle, shrunk if it fills the crop: GrabCut needs some background."""
    left, top, right, bottom = rectangle
    if rectangle != crop:
        return rectangle
    return left + SHRINK, top + SHRINK, right - SHRINK, bottom - SHRINK


def within(rectangle: Rectangle, crop: Rectangle) -> Rectangle:
    """The rectangle in the crop's own coordinates."""
    left, top, right, bottom = rectangle
    return left - crop[0], top - crop[1], right - crop[0], bottom - crop[1]


def slices(rectangle: Rectangle) -> tuple[slice, slice]:
    """Rows and columns of a rectangle in an image."""
    left, top, right, bottom = rectangle
    return slice(top, bottom), slice(left, right)
