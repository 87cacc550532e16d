"""Random and degenerate inputs, and this project's detector. Nothing of the released code."""

from dataclasses import replace
from typing import Any

import contrastmask.models  # noqa: F401  # isort: skip
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from scipy.ndimage import gaussian_filter
from torch import Tensor

from contrastmask.config import resolve, run_spec, settings_with
from contrastmask.config.options import OFFICIAL, ContrastMaskOptions
from contrastmask.training.build import model_config

RELEASED = ContrastMaskOptions(**OFFICIAL["contrastmask"])
WHOLE = replace(RELEASED, sigma=1.0)
BASE_LABELS = list(range(40, 80))  # any split serves
SIDE = 320  # of images in training, px


# ------------------------------------------------------------------------- masks and maps


def shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Masks of every kind that a RoI can have, bool (n, size, size)."""
    y, x = np.mgrid[:size, :size]
    return np.stack([*_random_shapes(rng, y, x), *_tiny_shapes(size), *_extreme_shapes(y, x)])


def _random_shapes(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    size, found = len(y), []
    for _ in range(12):
        (cy, cx), (a, b) = rng.uniform(0, size, 2), rng.uniform(1, size * 0.7, 2)
        found.append(((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1)
    for _ in range(12):
        smooth = gaussian_filter(rng.normal(size=(size, size)), rng.uniform(0.7, 4))
        found.append(smooth > np.quantile(smooth, rng.uniform(0.1, 0.9)))
    for _ in range(4):
        (top, left), (h, w) = rng.integers(0, size - 2, 2), rng.integers(1, size, 2)
        found.append((y >= top) & (y < top + h) & (x >= left) & (x < left + w))
    return found


def _tiny_shapes(size: int) -> list[np.ndarray]:
    """A few pixels, and all but those."""
    found = []
    for n in (1, 2, 3, 4, 5, 6, 9):
        tiny = np.zeros((size, size), bool)
        start = size * (size // 2) + size // 3
        tiny.flat[start : start + n] = True
        found += [tiny, ~tiny]
    return found


def _extreme_shapes(y: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    """Empty, full, half, all but a column, all but a corner, a line, a diagonal, checks, a frame, a ring."""
    last = len(y) - 1
    return [
        x < 0,
        x >= 0,
        x < len(x) // 2,
        x < last,
        (x > 0) | (y > 0),
        y == len(y) // 2,
        y == x,
        (y + x) % 2 == 0,
        (x == 0) | (y == 0) | (x == last) | (y == last),
        np.abs(np.hypot(y - len(y) / 2, x - len(x) / 2) - len(x) / 3) < 2,
    ]


def raw_maps(rng: np.random.Generator, n: int, scale: float = 1.0) -> Tensor:
    """Class activation maps (n, 7, 7) before normalisation: smooth, flat with a peak, or noise; with float's range."""
    maps = []
    for kind in range(n):
        noise = rng.normal(size=(7, 7))
        if kind % 3 == 0:
            noise = gaussian_filter(noise, 1.0)
        elif kind % 3 == 1:
            noise *= 0.02
            noise[tuple(rng.integers(0, 7, 2))] += 1
        maps.append(noise * scale * 10 ** rng.uniform(-1, 1) + rng.normal())
    return torch.tensor(np.array(maps), dtype=torch.float32)


# ------------------------------------------------------------------------- images with objects


def pyramid(images: int, seed: int) -> tuple[Tensor, ...]:
    """FPN features P2-P6 (256 channels) of images of SIDE px, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(images, 256, SIDE // s, SIDE // s, generator=generator) for s in (4, 8, 16, 32, 64)]
    return tuple(level.double().requires_grad_() for level in levels)


def scene(kinds: list[str], seed: int) -> tuple[list[DetDataSample], list[InstanceData]]:
    """Ground truth and proposals of images. `kinds`: per image the labels' groups, "b" base or "n" novel."""
    rng = np.random.default_rng(seed)
    samples, proposals = [], []
    for groups in kinds:
        objects = [_object(rng, group) for group in groups]
        boxes = torch.tensor([box for box, *_ in objects], dtype=torch.float32).double()
        sample = DetDataSample(metainfo=dict(img_shape=(SIDE, SIDE)))
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.tensor([label for _, label, _ in objects]),
            masks=BitmapMasks(np.stack([mask for *_, mask in objects]), SIDE, SIDE),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        samples.append(sample)
        near = boxes.repeat(2, 1) + torch.tensor(rng.uniform(-5, 5, (2 * len(boxes), 4)))
        corner = torch.tensor(rng.uniform(0, SIDE - 20, (5, 2)))
        found = torch.cat([near, torch.cat([corner, corner + 14], 1)]).clamp(0, SIDE)
        proposals.append(InstanceData(priors=found))
    return samples, proposals


def _object(rng: np.random.Generator, group: str) -> tuple[list[float], int, np.ndarray]:
    """Box, label and mask (SIDE, SIDE) of an object that more or less fills its box."""
    w, h = rng.uniform(24, SIDE * 0.8, 2)
    left, top = rng.uniform(0, SIDE - w), rng.uniform(0, SIDE - h)
    label = int(rng.integers(40, 80) if group == "b" else rng.integers(0, 40))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    r = rng.uniform(0.8, 1.3)
    inside = ((x - left - w / 2) / (r * w / 2)) ** 2 + ((y - top - h / 2) / (r * h / 2)) ** 2 <= 1
    noise = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 6)
    return [left, top, left + w, top + h], label, (inside & (noise > np.quantile(noise, 0.2))).astype(np.uint8)


# ------------------------------------------------------------------------- this project's detector


def config(preset: str, schedule: str = "1x", backbone: str = "r50", method: str = "contrastmask") -> dict[str, Any]:
    """The resolved configuration of a run at scale `paper`."""
    entry = {"method": method, "backbone": backbone, "schedule": schedule, "setting": "nonvoc2voc"}
    settings = settings_with({"scale": "paper", "data_root": "/nowhere", "gpus_per_run": 8})
    return resolve(run_spec(entry, preset), settings)


def detector(seed: int) -> Any:
    """The detector of the preset `official` at the paper's widths, initialised, in evaluation mode."""
    init_default_scope("mmdet")
    MMLogger.get_current_instance().setLevel("ERROR")  # it would list every parameter
    categories = {"categories": [{"id": label} for label in range(80)]}
    torch.manual_seed(seed)
    built = MODELS.build(ConfigDict(model_config(config("official"), categories, {"base": BASE_LABELS}, None)))
    built.init_weights()
    built.roi_head.progress = 0.5  # half-way through the training
    return built.eval()


def sampling(head: Any, samples: list[DetDataSample], proposals: list[InstanceData], seed: int) -> list[Any]:
    """mmdet's sampling results of every image."""
    torch.manual_seed(seed)
    found = []
    for sample, given in zip(samples, proposals, strict=True):
        assigned = head.bbox_assigner.assign(given, sample.gt_instances, sample.ignored_instances)
        found.append(head.bbox_sampler.sample(assigned, given, sample.gt_instances))
    return found
