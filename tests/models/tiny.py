"""Tiny detectors at smoke scale and hand-made batches."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contrastmask.config import resolve, run_spec, settings_with
from contrastmask.training.build import build_model

import mmdet.structures.mask  # isort: skip
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

DATASET = {"categories": [{"id": i, "name": n} for i, n in ((1, "person"), (2, "bicycle"), (5, "bus"), (9, "boat"))]}
SPLIT = {"base": [2, 9], "novel": [1, 5]}
BASE, NOVEL = (1, 3), (0, 2)  # labels
SIZE = 96


def resolved(method: str, preset: str, options: dict[str, Any]) -> dict[str, Any]:
    """The resolved configuration of a run at smoke scale."""
    entry = {"method": method, "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc", "options": options}
    return resolve(run_spec(entry, preset), settings_with({}))


def paper_config(
    method: str, backbone: str = "r50", schedule: str = "1x", preset: str = "paper", **options: Any
) -> dict[str, Any]:
    """The resolved configuration of a run at the paper's scale and batch."""
    settings = settings_with({"scale": "paper", "data_root": "/d", "gpus_per_run": 8})
    entry = {"method": method, "backbone": backbone, "schedule": schedule, "setting": "nonvoc2voc", "options": options}
    return resolve(run_spec(entry, preset), settings)


def paper_model(method: str, backbone: str = "r50", device: str = "cpu", **options: Any) -> torch.nn.Module:
    """COCO's 80 categories at full width, 60 of them base; `device="meta"` where only the shapes count."""
    coco = {"categories": [{"id": n, "name": str(n)} for n in range(80)]}
    split = {"base": list(range(60)), "novel": list(range(60, 80))}
    with torch.device(device):
        return build_model(paper_config(method, backbone, **options), coco, split, weights=None)


def parameters(module: torch.nn.Module) -> int:
    """How many it has."""
    return sum(p.numel() for p in module.parameters())


_models: dict[str, torch.nn.Module] = {}


def build(method: str = "contrastmask", preset: str = "paper", **options: Any) -> torch.nn.Module:
    """A detector in training mode, without gradients; the same object for the same arguments."""
    key = repr((method, preset, sorted(options.items())))
    if key not in _models:
        MMLogger.get_current_instance().setLevel("ERROR")  # it would list every parameter
        torch.manual_seed(0)
        _models[key] = build_model(resolved(method, preset, options), DATASET, SPLIT, weights=None)
        _models[key].init_weights()
        if method == "shapemask":  # as built, its priors are 0
            _models[key].roi_head.mask_head.priors.uniform_(generator=torch.Generator().manual_seed(1))
    model = _models[key].train()
    model.zero_grad(set_to_none=True)
    model.roi_head.progress = 0.5
    return model


@dataclass(frozen=True)
class Object:
    """An ellipse with its box (x1, y1, x2, y2) and label."""

    box: tuple[int, int, int, int]
    label: int

    def mask(self) -> np.ndarray:
        """(SIZE, SIZE) uint8."""
        x1, y1, x2, y2 = self.box
        y, x = np.mgrid[:SIZE, :SIZE] + 0.5
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
        return inside.astype(np.uint8)


A, B = Object((8, 10, 60, 50), 1), Object((30, 40, 90, 88), 0)
C, D = Object((5, 5, 45, 85), 3), Object((50, 8, 92, 44), 2)
IMAGES = ((A, B), (C, D))


class Spy:
    """Calls a function and keeps what it was given and what it gave, the last time."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.arguments, self.result = (*arguments, *named.values()), self.function(*arguments, **named)
        return self.result


@dataclass
class Batch:
    """Network inputs, annotations and proposals; `fresh` because mmdet changes what it is given."""

    inputs: Tensor
    samples: list[DetDataSample]
    proposals: list[InstanceData]

    def fresh(self) -> "Batch":
        """An independent copy."""
        return copy.deepcopy(self)


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """A copy away from its initial weights: residual blocks and gates that start at 0 stop gradients."""
    model = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def scramble(mask: np.ndarray, seed: int = 5) -> np.ndarray:
    """A mask that has nothing to do with `mask`."""
    return np.random.default_rng(seed).integers(0, 2, mask.shape, dtype=np.uint8)


def make_batch(
    images: tuple[tuple[Object, ...], ...] = IMAGES,
    scrambled: tuple[int, ...] = (),
    ignored: tuple[Object, ...] = (),
    jitter: int = 1,
    background: int = 6,
) -> Batch:
    """A batch whose pixels do not depend on the annotations.

    Args:
        images: objects of each image.
        scrambled: labels whose masks are replaced by noise.
        ignored: crowds, in every image.
        jitter: proposals beside each object, each overlapping it by more than half.
        background: random small proposals in each image.
    """
    rng = np.random.default_rng(0)
    pixels = torch.randn(len(images), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    sizes = dict.fromkeys(("img_shape", "ori_shape", "batch_input_shape", "pad_shape"), (SIZE, SIZE))
    samples, proposals = [], []
    for objects in images:
        sample = DetDataSample(metainfo=sizes | {"scale_factor": (1.0, 1.0), "img_id": 0})
        sample.gt_instances, sample.ignored_instances = annotated(objects, scrambled), annotated(ignored)
        boxes = sample.gt_instances.bboxes
        corners = torch.as_tensor(rng.uniform(0, SIZE - 12, (background, 2)), dtype=torch.float32)
        small = torch.cat([corners, corners + 8], 1)
        near = [boxes + torch.as_tensor(rng.uniform(-3, 3, boxes.shape), dtype=torch.float32) for _ in range(jitter)]
        found = torch.cat([*near, small]).clamp(0, SIZE)
        proposals.append(InstanceData(bboxes=found, scores=torch.ones(len(found)), labels=0 * found[:, 0].long()))
        samples.append(sample)
    return Batch(pixels, samples, proposals)


def annotated(objects: tuple[Object, ...], scrambled: tuple[int, ...] = ()) -> InstanceData:
    """Boxes, labels and masks of an image; those with a scrambled label have noise for a mask."""
    masks = [scramble(o.mask()) if o.label in scrambled else o.mask() for o in objects]
    stacked = np.stack(masks) if masks else np.zeros((0, SIZE, SIZE), dtype=np.uint8)
    return InstanceData(
        bboxes=torch.tensor([o.box for o in objects], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([o.label for o in objects], dtype=torch.long),
        masks=mmdet.structures.mask.BitmapMasks(stacked, SIZE, SIZE),
    )


def detector_losses(model: torch.nn.Module, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Every loss of the detector, RPN included; lists summed."""
    batch = batch.fresh()
    torch.manual_seed(seed)
    losses = model.loss(batch.inputs, batch.samples)
    return {name: sum(loss) if isinstance(loss, list) else loss for name, loss in losses.items()}


def roi_losses(model: torch.nn.Module, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Losses of the RoI head on the batch's own proposals."""
    batch = batch.fresh()
    features = model.extract_feat(batch.inputs)
    torch.manual_seed(seed)
    return model.roi_head.loss(features, batch.proposals, batch.samples)


def sampling(model: torch.nn.Module, batch: Batch, seed: int = 0) -> tuple[list, list]:
    """Sampling results and ground truth of the batch, as the RoI head would have them."""
    batch = batch.fresh()
    torch.manual_seed(seed)
    results = []
    for sample, found in zip(batch.samples, batch.proposals, strict=True):
        found.priors = found.pop("bboxes")
        assigned = model.roi_head.bbox_assigner.assign(found, sample.gt_instances, sample.ignored_instances)
        results.append(model.roi_head.bbox_sampler.sample(assigned, found, sample.gt_instances))
    return results, [sample.gt_instances for sample in batch.samples]


def boxes_at_test(model: torch.nn.Module, boxes: list[Tensor], labels: list[Tensor]) -> list[InstanceData]:
    """Masks of given boxes of the batch's images, whose originals are twice as large."""
    metas = [dict(img_shape=(SIZE, SIZE), ori_shape=(2 * SIZE, 2 * SIZE), scale_factor=(0.5, 0.5))] * len(boxes)
    with torch.no_grad():
        features = model.extract_feat(make_batch().inputs)
        return model.roi_head.predict_masks_in_boxes(features, metas, boxes, labels)


def grads(module: torch.nn.Module) -> dict[str, float]:
    """Largest absolute gradient of each parameter that has one."""
    return {n: float(p.grad.abs().max()) for n, p in module.named_parameters() if p.grad is not None}
