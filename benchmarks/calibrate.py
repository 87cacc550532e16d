"""Time a few real steps of a run, to say what it will cost before any has been made: `contrastmask plan --calibrate`.

Real are the model, the optimiser, the image size, the images of a GPU and the machine; pixels, boxes and masks are
random (bench_step.py). Not in it: reading images, and what several GPUs wait for each other. Weights are random, so at
evaluation the score threshold is 0: every detection slot is filled, which is the slow case.
"""

import copy
import json
import time

import numpy as np

from contrastmask.config import RunSpec, Settings, resolve

STEPS = 3  # timed, after one that is not
COCO_IMAGES = {"train": 118_287, "val": 5_000}  # COCO 2017


def expected_seconds(run: RunSpec, settings: Settings) -> float:
    """Seconds of a run's training and evaluation, by the medians of a few steps and images.

    Raises:
        ConfigError: the data has not been verified, so how many images it has is not known.
    """
    import torch

    from benchmarks.bench_step import Trainer, random_batch
    from benchmarks.systems import categories
    from contrastmask.training.train import total_iterations

    config = resolve(run, settings)
    iterations = total_iterations(config, images(settings, "train"))
    config["model"].setdefault("test_cfg", {}).setdefault("rcnn", {})["score_thr"] = 0.0
    width, height = typical_size(config["image"]["train"])
    config["image"]["train"] = [[width, height]]
    print(f"timing {run.id}", flush=True)
    trainer = Trainer(config, settings)
    step = float(np.median(trainer.burst(STEPS + 1)[1:])) * settings.passes
    trainer.model.eval()
    single = random_batch(1, height, width, len(categories(settings)[0]["categories"]))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        with torch.no_grad():
            trainer.model.test_step(copy.deepcopy(single))
        seconds.append(time.perf_counter() - started)
    return step * iterations + seconds[-1] * images(settings, "val")


def images(settings: Settings, part: str) -> int:
    """How many images train or val has."""
    from contrastmask.errors import ConfigError

    if settings.dataset.exists():
        return json.loads(settings.dataset.read_text(encoding="utf-8"))[part]["n_images"]
    dataset = settings.scale["dataset"]
    known = {"synthetic": dataset.get(f"{part}_images"), "coco": COCO_IMAGES[part]}.get(dataset["kind"])
    if known is None:
        raise ConfigError(f"{settings.dataset} is missing: run `snakemake --cores 1 {settings.dataset}` first")
    return known


def typical_size(scales: list[list[int]]) -> tuple[int, int]:
    """Width and height of a 4:3 image with the mean short side of the training sizes, no longer than they allow."""
    short = round(sum(map(min, scales)) / len(scales))
    return min(max(map(max, scales)), round(short * 4 / 3)), short
