"""Evaluate Mask GrabCut: behind `contrastmask evaluate` for a run that reads a detector's results.

Nothing is trained. The final detections of the run's detector, which has been evaluated before, are read again, and
each box of a novel class gets GrabCut's mask; so do the ground truth's boxes. Writes what any evaluation writes, by the
same protocol. Masks do not depend on the number of processes.
"""

import functools
import gzip
import json
import multiprocessing
import os
import signal
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from contrastmask.config.options import GrabCutOptions
from contrastmask.data.images import read_verified
from contrastmask.data.originals import Originals
from contrastmask.errors import ConfigError, Failed
from contrastmask.evaluation.evaluate import (
    encode_array,
    logged,
    rle_ious,
    summary,
    usable,
    write_readings,
)
from contrastmask.evaluation.look import corners
from contrastmask.models.peers.grabcut import segment
from contrastmask.runtime.files import write_json
from contrastmask.runtime.locks import Interrupted, RunLock, Stop, on_signals
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.curves import LOCK_NAME
from contrastmask.tracking.sync import live
from contrastmask.training.record import record_run
from contrastmask.training.run import Run, open_tracker

Box = list[float]  # x, y, w, h in pixels
Rle = dict[str, Any]


@dataclass(frozen=True)
class Detector:
    """What the detector's own evaluation left: the content of metrics.json, and COCO results."""

    metrics: dict[str, Any]
    detections: list[dict[str, Any]]


def read_detector(run: Run) -> Detector:
    """Raises ConfigError, with the fix, if the detector's results are missing, damaged or not those meant."""
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
    return Detector(metrics, detections)


def evaluate(run: Run, detector: Detector, processes: int, stop: Stop) -> dict[str, Any]:
    """Segment and measure; returns the content of metrics.json."""
    from pycocotools.coco import COCO

    started = time.monotonic()
    truth = COCO(run.dataset["val"]["annotations"])
    found = Originals(truth).our_detections(detector.detections)
    detections, ious = predict(run, truth, found, processes, stop)
    write_readings(run.folder, [d for d in detections if "segmentation" in d], ious, truth)
    checkpoint = detector.metrics["checkpoint_sha256"]
    measured = summary(run, truth, detections, ious, checkpoint=checkpoint, started=started, masked=["novel"])
    return measured | {"detector": detector.metrics["run"]}


def predict(
    run: Run, truth: Any, detections: list[dict[str, Any]], processes: int, stop: Stop
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
    tasks = [
        Task(
            path=str(Path(run.dataset["val"]["images"]) / info["file_name"]),
            size=(info["height"], info["width"]),
            boxes=tuple(each["bbox"] for each in (*found[image], *given[image])),
        )
        for image, info in truth.imgs.items()
    ]
    ious = []
    progress = Progress("image", len(tasks))
    with progress, closing(segment_images(tasks, GrabCutOptions(**run.config["options"]), processes)) as segmented:
        for done, (image, masks) in enumerate(zip(truth.imgs, segmented, strict=True), start=1):
            if stop.requested:
                raise Interrupted(stop.signum)
            own = len(found[image])
            for detection, mask in zip(found[image], masks[:own], strict=True):
                detection["segmentation"] = mask
            ious += rle_ious(masks[own:], given[image], truth)
            progress.update(done)
    return bare, ious


# ---------------------------------------------------------------------------- images, in several processes


@dataclass(frozen=True)
class Task:
    """The boxes to segment in one image, whose size is (height, width) in pixels."""

    path: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]


def segment_images(tasks: Sequence[Task], options: GrabCutOptions, processes: int) -> Generator[list[Rle], None, None]:
    """The masks of each task, in order. Closed early, it ends its processes at once."""
    work = functools.partial(segment_image, options=options)
    if processes == 1:
        yield from map(work, tasks)
        return
    # spawned, not forked: the tracker's thread is running
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(work, tasks)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def segment_image(task: Task, options: GrabCutOptions) -> list[Rle]:
    """One mask for each box of an image.

    Raises:
        DataError: the image cannot be read or has another size.
    """
    if not task.boxes:
        return []
    cv2.setNumThreads(1)  # the processes are the parallelism
    height, width = task.size
    image = read_verified(Path(task.path), (width, height))
    boxes = (corners(box) for box in task.boxes)
    return [encode_array(segment(image, (x1, y1, x2, y2), options)) for x1, y1, x2, y2 in boxes]


def _start_worker() -> None:
    """Leave signals to the parent, and end when it does, however that happens."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# ---------------------------------------------------------------------------- the evaluation


def start(run: Run, processes: int) -> dict[str, Any]:
    """Evaluate with everything written and tracked; returns the content of metrics.json.

    Raises:
        ConfigError: the detector's results are missing or not those meant.
        DataError: an image cannot be read.
        Failed: a process was killed from outside.
    """
    detector = read_detector(run)
    try:
        with RunLock(run.work / LOCK_NAME), on_signals() as stop:
            return _record(run, detector, processes, stop)
    except BrokenProcessPool:
        raise Failed("a process was killed from outside, perhaps for memory: try fewer --processes") from None


def _record(run: Run, detector: Detector, processes: int, stop: Stop) -> dict[str, Any]:
    tracker = open_tracker(run)
    with live(run.folder), tracker.session("evaluate"):
        record_run(run, tracker, {"detector": run.config["detector"]["run"]})
        tracker.tags(
            {
                "detector.config_hash": run.config["detector"]["config_hash"],
                "checkpoint.sha256": detector.metrics["checkpoint_sha256"],
            }
        )
        tracker.dataset(run.dataset["name"], run.dataset["digest"], run.dataset["val"]["annotations"], "evaluation")
        metrics = evaluate(run, detector, processes, stop)
        tracker.metrics(logged(metrics), step=0, final=True)
        tracker.table("per_category.json", metrics["per_category"])
        write_json(run.folder / "metrics.json", metrics)
    return metrics
