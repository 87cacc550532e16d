"""One system's training step, ready to be timed: the model, its optimiser and a batch of random pixels."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import contrastmask.models  # isort: skip  # noqa: F401  # puts torchvision's operators behind mmcv's
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

from benchmarks.systems import categories
from contrastmask.config import Settings
from contrastmask.training.build import build_model
from contrastmask.training.train import optim_wrapper

OBJECTS = 8  # in each image; COCO's training images have 7.3
NEAR = 15  # proposals close to each object, which with the object itself fill the paper's 128 positives of an image


class Trainer:
    """A system on the GPU, if there is one, and what a step of it costs.

    The learning rate is 0: all steps do the same work, and random weights cannot run away.

    Args:
        config: from `config.resolve`.
        settings: of which images of a pass, categories and threads are read.
        build: makes the detector; takes what `build_model` does.
        fused: as this project trains; False: torch's optimiser as mmdet has it.
    """

    def __init__(
        self,
        config: dict[str, Any],
        settings: Settings,
        build: Callable[..., nn.Module] = build_model,
        fused: bool = True,
    ) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(settings.scale["threads"])
        MMLogger.get_current_instance().setLevel("ERROR")  # it would list every parameter
        self.cuda = torch.cuda.is_available()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
        self.before = _resident("VmRSS")
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        dataset, split = categories(settings)
        self.model = cast(Any, build(config, dataset, split, weights=None))
        self.model.init_weights()
        self.model.to("cuda" if self.cuda else "cpu").train()
        if hasattr(self.model, "rpn_head"):
            propose_objects(self.model.roi_head)
        still = config | {"optimizer": config["optimizer"] | {"lr": 0.0}}
        wrapper = optim_wrapper(still)
        if not fused:
            wrapper["optimizer"].pop("fused", None)
        if config["amp"] and not self.cuda:
            wrapper = wrapper | {"type": AutocastOnCPU}
            del wrapper["dtype"]
        self.optimizer = build_optim_wrapper(self.model, wrapper)
        width, height = config["image"]["train"][-1]
        self.batch = random_batch(settings.images_per_gpu, height, width, len(dataset["categories"]))

    def burst(self, steps: int) -> list[float]:
        """Train that many steps; the seconds of each. On a GPU its cache is given back to the others afterwards."""
        seconds = []
        for _ in range(steps):
            batch = copy.deepcopy(self.batch)  # mmdet changes what it is given
            self._wait()
            start = time.perf_counter()
            self.model.train_step(batch, self.optimizer)
            self._wait()
            seconds.append(time.perf_counter() - start)
        if self.cuda:
            torch.cuda.empty_cache()
        return seconds

    def peak_memory(self) -> float:
        """MiB: of tensors on a GPU, otherwise resident beyond what the process had before the model was built."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.cuda else _resident("VmHWM") - self.before

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


class AutocastOnCPU(OptimWrapper):
    """bf16 autocast where there is no GPU, which mmengine's own wrapper insists on."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Of the forward pass."""
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


def _resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def propose_objects(roi_head: Any) -> None:
    """Give the RoI head NEAR proposals at each object beside the RPN's own, as a trained RPN would.

    Random weights find no object, and most of what systems add works on positive RoIs.
    """
    loss = roi_head.loss

    def with_objects(x: tuple[Tensor], found: list[InstanceData], samples: list[DetDataSample]) -> dict[str, Tensor]:
        more = []
        for proposals, sample in zip(found, samples, strict=True):
            boxes = sample.gt_instances.bboxes.repeat(NEAR, 1)
            sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
            near = boxes + 0.1 * sides * (2 * torch.rand_like(boxes) - 1)  # IoU above 0.5
            fields = {"bboxes": near, "scores": near.new_ones(len(near))}
            fields["labels"] = torch.zeros(len(near), dtype=torch.long, device=near.device)
            kept = InstanceData(**{name: proposals[name] for name in fields})
            more.append(InstanceData.cat([InstanceData(**fields), kept]))
        return loss(x, more, samples)

    roi_head.loss = with_objects


def random_batch(images: int, height: int, width: int, classes: int) -> dict[str, list[Any]]:
    """What the data loader would give: noise with OBJECTS ellipses of all sizes and classes in each image."""
    rng = np.random.default_rng(0)
    shape = {"img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0)}
    batch: dict[str, list[Any]] = {"inputs": [], "data_samples": []}
    for number in range(images):
        sides = rng.uniform(0.1, 0.6, (OBJECTS, 2)) * (width, height)
        corners = rng.uniform(0, 1, (OBJECTS, 2)) * ((width, height) - sides)
        boxes = np.concatenate([corners, corners + sides], axis=1)
        sample = DetDataSample(metainfo=shape | {"img_id": number})
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            labels=torch.tensor(rng.integers(0, classes, OBJECTS)),
            masks=BitmapMasks(_ellipses(boxes, height, width), height, width),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        batch["inputs"].append(torch.tensor(rng.integers(0, 256, (3, height, width), dtype=np.uint8)))
        batch["data_samples"].append(sample)
    return batch


def _ellipses(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, height, width) uint8: the ellipse in each box (N, 4)."""
    y, x = np.mgrid[:height, :width][:, None] + 0.5
    x1, y1, x2, y2 = boxes.T[:, :, None, None]
    inside = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1
    return inside.astype(np.uint8)
