"""Random and degenerate inputs, this project's objects, and the printing of results. Nothing of the released code."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import contrastmask.models  # noqa: F401  # isort: skip
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from contrastmask.config import load_settings, resolve, run_spec
from contrastmask.config.options import OFFICIAL, ContrastMaskOptions
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.paths import ROOT
from contrastmask.training.build import model_config

RELEASED = ContrastMaskOptions(**OFFICIAL["contrastmask"])
WHOLE = replace(RELEASED, sigma=1.0)

results: list[bool] = []


def say(item: str, ran: str, difference: float, bound: float) -> None:
    """Print a line: what was compared, on how much, the difference, and whether it is within the bound."""
    results.append(difference <= bound)
    print(
        f"{'agree ' if results[-1] else 'DIFFER'} | {item} | {ran} | {difference:.3g} (bound {bound:.3g})", flush=True
    )


def gap(a: Any, b: Any) -> float:
    """Largest absolute difference."""
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def relative(a: Any, b: Any) -> float:
    """Largest absolute difference over the largest absolute value."""
    return gap(a, b) / max(float(torch.as_tensor(b).detach().abs().max()), 1e-12) if torch.as_tensor(a).numel() else 0.0


# ------------------------------------------------------------------------- masks and maps


def shapes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Masks of every kind that a RoI can have, bool (n, size, size)."""
    y, x = np.mgrid[:size, :size]
    found = {}
    for k in range(12):
        cy, cx = rng.uniform(0, size, 2)
        a, b = rng.uniform(1, size * 0.7, 2)
        found[f"ellipse{k}"] = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1
    for k in range(12):
        smooth = gaussian_filter(rng.normal(size=(size, size)), rng.uniform(0.7, 4))
        found[f"blob{k}"] = smooth > np.quantile(smooth, rng.uniform(0.1, 0.9))
    for k in range(4):
        y1, x1 = rng.integers(0, size - 2, 2)
        h, w = rng.integers(1, size, 2)
        found[f"box{k}"] = (y >= y1) & (y < y1 + h) & (x >= x1) & (x < x1 + w)
    empty, full = np.zeros((size, size), bool), np.ones((size, size), bool)
    for n in (1, 2, 3, 4, 5, 6, 9):
        tiny = empty.copy()
        tiny.flat[size * (size // 2) + size // 3 : size * (size // 2) + size // 3 + n] = True
        found[f"tiny{n}"] = tiny
        found[f"hole{n}"] = ~tiny
    for name, mask in {
        "empty": empty,
        "full": full,
        "half": x < size // 2,
        "all but a column": x < size - 1,
        "all but a corner": ~((x == 0) & (y == 0)),
        "line": y == size // 2,
        "diagonal": y == x,
        "checks": (y + x) % 2 == 0,
        "frame": (x == 0) | (y == 0) | (x == size - 1) | (y == size - 1),
        "ring": np.abs(np.hypot(y - size / 2, x - size / 2) - size / 3) < 2,
    }.items():
        found[name] = mask.copy()
    return np.stack(list(found.values()))


def raw_maps(rng: np.random.Generator, n: int, scale: float = 1.0) -> torch.Tensor:
    """Class activation maps (n, 7, 7) before normalisation: smooth, flat with a peak, or noise; with float's range."""
    maps = []
    for k in range(n):
        kind = k % 3
        if kind == 0:
            m = gaussian_filter(rng.normal(size=(7, 7)), 1.0)
        elif kind == 1:
            m = np.zeros((7, 7))
            m[tuple(rng.integers(0, 7, 2))] = 1
            m += rng.normal(size=(7, 7)) * 0.02
        else:
            m = rng.normal(size=(7, 7))
        maps.append(m * scale * 10 ** rng.uniform(-1, 1) + rng.normal())
    return torch.tensor(np.array(maps), dtype=torch.float32)


# ------------------------------------------------------------------------- this project's RoI head


def config(preset: str, schedule: str = "1x", backbone: str = "r50", method: str = "contrastmask") -> dict[str, Any]:
    """The resolved configuration of a run at scale `paper`."""
    entry = {"method": method, "backbone": backbone, "schedule": schedule, "setting": "nonvoc2voc"}
    settings = read_yaml(ROOT / "configs" / "config.yaml", "config") | {"scale": "paper", "data_root": "/nowhere"}
    settings |= {"gpus_per_run": 8}
    return resolve(run_spec(entry, preset), load_settings(settings))


BASE_LABELS = list(range(40, 80))  # any split serves


def whole_detector(seed: int) -> Any:
    """The detector of the preset `official` at the paper's widths, initialised, in evaluation mode."""
    init_default_scope("mmdet")
    MMLogger.get_current_instance().setLevel("ERROR")  # it would list every parameter
    categories = {"categories": [{"id": label} for label in range(80)]}
    torch.manual_seed(seed)
    built = MODELS.build(ConfigDict(model_config(config("official"), categories, {"base": BASE_LABELS}, None)))
    built.init_weights()
    return built.eval()


def roi_head(seed: int) -> Any:
    """Its RoI head in training mode, half-way through the training."""
    head = whole_detector(seed).roi_head.train()
    head.progress = 0.5
    return head


SIDE = 320  # of the images, px


def pyramid(images: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """FPN features P2-P6 (256 channels) of images of SIDE px."""
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(images, 256, SIDE // s, SIDE // s, generator=generator) for s in (4, 8, 16, 32, 64)]
    return tuple(level.to(dtype).requires_grad_() for level in levels)


def scene(kinds: list[str], seed: int, dtype: torch.dtype = torch.float32) -> tuple[list, list]:
    """Ground truth and proposals of images. `kinds`: per image the labels' groups, "b" base or "n" novel."""
    rng = np.random.default_rng(seed)
    samples, proposals = [], []
    for groups in kinds:
        boxes, labels, masks = [], [], []  # type: ignore[var-annotated]
        for group in groups:
            w, h = rng.uniform(24, SIDE * 0.8, 2)
            x, y = rng.uniform(0, SIDE - w), rng.uniform(0, SIDE - h)
            boxes.append([x, y, x + w, y + h])
            labels.append(int(rng.integers(40, 80) if group == "b" else rng.integers(0, 40)))
            yy, xx = np.mgrid[:SIDE, :SIDE] + 0.5
            r = rng.uniform(0.8, 1.3)
            inside = ((xx - x - w / 2) / (r * w / 2)) ** 2 + ((yy - y - h / 2) / (r * h / 2)) ** 2 <= 1
            noise = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 6)
            masks.append((inside & (noise > np.quantile(noise, 0.2))).astype(np.uint8))
        corners = torch.tensor(boxes, dtype=torch.float32).to(dtype)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(SIDE, SIDE),
                ori_shape=(SIDE, SIDE),
                scale_factor=(1.0, 1.0),
                pad_shape=(SIDE, SIDE),
                img_id=0,
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=corners, labels=torch.tensor(labels), masks=BitmapMasks(np.stack(masks), SIDE, SIDE)
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
        near = corners.repeat(2, 1) + torch.tensor(rng.uniform(-5, 5, (2 * len(boxes), 4)), dtype=dtype)
        corner = torch.tensor(rng.uniform(0, SIDE - 20, (5, 2)), dtype=dtype)
        found = torch.cat([near, torch.cat([corner, corner + 14], 1)]).clamp(0, SIDE)
        proposals.append(
            InstanceData(bboxes=found, scores=torch.ones(len(found)), labels=torch.zeros(len(found)).long())
        )
        samples.append(sample)
    return samples, proposals


def sampling(head: Any, samples: list, proposals: list, seed: int) -> list:
    """mmdet's sampling results of every image."""
    torch.manual_seed(seed)
    found = []
    for sample, given in zip(samples, proposals, strict=True):
        given = InstanceData(priors=given.bboxes, scores=given.scores, labels=given.labels)
        assigned = head.bbox_assigner.assign(given, sample.gt_instances, sample.ignored_instances)
        found.append(head.bbox_sampler.sample(assigned, given, sample.gt_instances))
    return found


def summary() -> int:
    """Print how many differ; 1 if any does."""
    print(f"\n{len(results)} comparisons, {results.count(False)} differ")
    return int(not all(results))
