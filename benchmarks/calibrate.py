"""Time a few real steps of a few systems, to say what runs will cost before any has been made.

Real are the model, the optimiser, the image size, the images of a GPU and the machine; pixels, boxes and masks are
random (bench_step.py). Not in it: reading images, and what several GPUs wait for each other. Weights are
random, so at evaluation the score threshold is 0: every detection slot is filled, which is the slow case.
"""

import copy
import time

import numpy as np

from contrastmask.config import RunSpec, Settings, backbone_config, resolve
from contrastmask.report.cost import System, cheapest_sufficient
from contrastmask.report.plan import Plan, batch, read, system
from contrastmask.runtime.files import write_json

STEPS = 3  # timed, after one that is not


def calibrate(settings: Settings, plan: Plan) -> list[System]:
    """Time the cheapest systems from which the cost of all that is left follows; adds to calibration.json.

    Returns the systems timed. One that cannot be built or run is said and left out: its cost is then not known.
    """
    runs = {system(job.run): job.run for job in reversed(plan.left) if not job.run.detector}
    chosen = cheapest_sufficient(runs, plan.knowledge.iteration.systems, lambda s: price(s, runs[s]))
    file = settings.folder / "calibration.json"
    known = read(file)
    same = known.get("machine") == plan.machine and known.get("batch") == batch(settings)
    entries = list(known.get("systems", [])) if same else []
    started = time.monotonic()
    for number, kind in enumerate(chosen, start=1):
        print(f"timing {number} of {len(chosen)}: {runs[kind].id}", flush=True)
        try:
            entries.append({"system": vars(kind), **measure(runs[kind], settings)})
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            print(f"  cannot be timed: {error}", flush=True)
            continue
        if number == 1 and not same:
            spent = entries[0]["iteration"] * (STEPS + 1) + entries[0]["image"] * 2
            known = {"startup": time.monotonic() - started - spent}
        startup = known.get("startup", 0.0)
        content = {"scale": settings.scale["name"], "machine": plan.machine, "batch": batch(settings)}
        write_json(file, content | {"startup": startup, "systems": entries})
    return chosen


def price(kind: System, run: RunSpec) -> tuple[float, int]:
    """What decides between systems that tell the same: the smaller backbone, then the fewer options."""
    backbone = backbone_config(kind.backbone)
    groups = backbone.get("groups", 1)
    width = groups * backbone.get("base_width", 4) / 128 if groups > 1 else 1  # ResNeXt 32x4d costs what a ResNet does
    return backbone.get("depth", 1000) * width, len(run.options)


def measure(run: RunSpec, settings: Settings) -> dict[str, float]:
    """Seconds of an iteration and of an evaluated image, medians, and bytes of a run's weights and last checkpoint."""
    import torch

    from benchmarks.bench_step import Trainer, random_batch
    from benchmarks.systems import categories

    config = resolve(run, settings)
    config["model"].setdefault("test_cfg", {}).setdefault("rcnn", {})["score_thr"] = 0.0
    width, height = typical_size(config["image"]["train"])
    config["image"]["train"] = [[width, height]]
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
    weights = sum(t.numel() * t.element_size() for t in trainer.model.state_dict().values())
    return {"iteration": step, "image": seconds[-1], "size": 2.0 * weights}


def typical_size(scales: list[list[int]]) -> tuple[int, int]:
    """Width and height of a 4:3 image with the mean short side of the training sizes, no longer than they allow."""
    short = round(sum(map(min, scales)) / len(scales))
    return min(max(map(max, scales)), round(short * 4 / 3)), short
