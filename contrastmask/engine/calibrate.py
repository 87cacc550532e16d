"""Time a few real steps of a few systems, to say what runs will cost before any has been made.

Real are the model, the optimiser, the image size, the images of a GPU and the machine; pixels, boxes and masks are
random. Not in it: reading images, and what several GPUs wait for each other. Weights are random, so at evaluation the
score threshold is 0: every detection slot is filled, which is the slow case.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from contrastmask.data.categories import coco_categories
from contrastmask.data.files import write_json
from contrastmask.experiment import RunSpec, Settings, backbone_config, resolve
from contrastmask.report.cost import System, cheapest_sufficient
from contrastmask.report.plan import Plan, batch, read, system

STEPS = 3  # timed, after one that is not
OBJECTS = 7  # of an image; COCO's mean


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
    from mmengine.optim import build_optim_wrapper

    from contrastmask.engine.build import build_model
    from contrastmask.engine.train import optim_wrapper

    torch.set_num_threads(settings.scale["threads"])
    config, device = resolve(run, settings), "cuda" if torch.cuda.is_available() else "cpu"
    config["model"].setdefault("test_cfg", {}).setdefault("rcnn", {})["score_thr"] = 0.0
    categories, split = classes(settings, run)
    torch.manual_seed(0)
    model: Any = build_model(config, {"categories": categories}, split, weights=None).to(device)
    if hasattr(model.roi_head, "progress"):
        model.roi_head.progress = 0.5
    wrapper = build_optim_wrapper(model, optim_wrapper(config))
    batches = random_batches(config, settings.images_per_gpu, len(categories))
    model.train()
    step = timed(lambda: model.train_step(next(batches), wrapper), STEPS, device)
    model.eval()
    single = random_batches(config, 1, len(categories))
    with torch.no_grad():
        image = timed(lambda: model.test_step(next(single)), 1, device)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return {"iteration": step, "image": image, "size": 2.0 * weights}


def classes(settings: Settings, run: RunSpec) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Categories and split of the scale's data where they are verified, else COCO's."""
    categories = read(settings.dataset).get("categories")
    split = read(settings.split(run.setting))
    if categories and split:
        return categories, split
    coco = coco_categories()
    base = [c.id for c in coco if c.split == run.setting.split("2")[0]] or [c.id for c in coco[::2]]
    return [{"id": c.id, "name": c.name} for c in coco], {"base": base}


def timed(work: Any, times: int, device: str) -> float:
    """Median seconds of `work()`, once more before for what happens only once."""
    import torch

    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def random_batches(config: dict[str, Any], images: int, n_classes: int) -> Iterator[dict[str, Any]]:
    """Endless batches as the data loader gives them: random pixels with OBJECTS ellipses an image.

    Images are 4:3 with the configuration's training sizes, each size in turn; a range is taken at its ends.
    """
    import torch

    import contrastmask.models  # isort: skip  # noqa: F401  # before mmdet: puts torchvision's operators behind mmcv's
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    rng = np.random.default_rng(0)
    sizes = [sorted(scale) for scale in config["image"]["train"]]
    turn = 0
    while True:
        inputs, samples = [], []
        for _ in range(images):
            height, longest = sizes[turn % len(sizes)]
            width, turn = min(longest, round(height * 4 / 3)), turn + 1
            corner = rng.uniform(0, 0.6, (OBJECTS, 2)) * (width, height)
            boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (OBJECTS, 2)) * (width, height)], axis=1)
            shape = {"img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0)}
            sample = DetDataSample(metainfo=shape | {"img_id": 0})
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32),
                labels=torch.tensor(rng.integers(0, n_classes, OBJECTS)),
                masks=BitmapMasks(ellipses(boxes, height, width), height, width),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4),
                labels=torch.zeros(0, dtype=torch.long),
                masks=BitmapMasks(np.zeros((0, height, width), np.uint8), height, width),
            )
            inputs.append(torch.tensor(rng.integers(0, 256, (3, height, width)), dtype=torch.uint8))
            samples.append(sample)
        yield {"inputs": inputs, "data_samples": samples}


def ellipses(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, height, width) uint8 masks that fill boxes (x1, y1, x2, y2)."""
    y, x = np.mgrid[:height, :width] + 0.5
    masks = [
        ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1 for x1, y1, x2, y2 in boxes
    ]
    return np.stack(masks).astype(np.uint8)
