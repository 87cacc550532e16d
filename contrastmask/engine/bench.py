"""Time and memory of a training step of every system, relative to Mask R-CNN: `python -m contrastmask.engine.bench`.

Each system trains in a process of its own, on random pixels, all with the baseline's backbone. Its bursts of steps take
turns with the baseline's, and a ratio compares two neighbours, so that a machine that slows down meanwhile slows both.
Writes results/<scale>/bench/bench.{md,csv}.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.engine.gpu import GpuError, lease
from contrastmask.experiment.settings import Settings
from contrastmask.experiment.systems import BASELINE, System, categories, systems, without_data
from contrastmask.report import grid
from contrastmask.yamlfiles import ConfigError

OBJECTS = 8  # in each image; COCO's training images have 7.3
WARM_UP = 2  # steps that are not counted: the first ones allocate memory and choose algorithms
HEAD = ("System", "s / step", "quartiles", "x baseline", "quartiles", "MiB", "x baseline")


class BenchError(RuntimeError):
    """A system that could not be measured; the message names it and says why."""


@dataclass(frozen=True)
class Readings:
    """A system's seconds a step and the baseline's, one row for each pair of bursts; peak memory of both in MiB.

    Memory is that after as many steps of each: it grows a little for a while.
    """

    seconds: np.ndarray
    baseline: np.ndarray
    memory: float
    baseline_memory: float

    @property
    def ratios(self) -> np.ndarray:
        """Of the medians of neighbouring bursts."""
        return np.median(self.seconds, axis=1) / np.median(self.baseline, axis=1)


# ---------------------------------------------------------------------------- in a system's own process


def serve(pipe: Connection, config: dict[str, Any], settings: Settings) -> None:
    """Build the system, then answer each number of steps by (seconds of each, peak MiB), until None comes."""
    try:
        trainer = Trainer(config, settings)
        trainer.burst(WARM_UP)
        pipe.send(None)
        while (steps := pipe.recv()) is not None:
            pipe.send((trainer.burst(steps), trainer.peak_memory()))
    except (KeyboardInterrupt, EOFError):
        return
    except Exception as error:  # of any kind: the parent says it, with the system's name
        pipe.send(error.__class__.__name__ + ": " + str(error).partition("\n")[0])


class Trainer:
    """A system, its optimiser and one batch of random pixels, on the GPU if there is one."""

    def __init__(self, config: dict[str, Any], settings: Settings) -> None:
        import torch

        from contrastmask.engine.build import build_model  # isort: skip  # before mmengine's optimisers
        from mmengine.optim import build_optim_wrapper

        from contrastmask.engine.train import optim_wrapper

        torch.manual_seed(0)
        torch.set_num_threads(settings.scale["threads"])
        self.cuda = torch.cuda.is_available()
        self.before = _peak_rss()
        dataset, split = categories(settings)
        self.model: Any = build_model(config, dataset, split, weights=None)
        self.model.to("cuda" if self.cuda else "cpu").train()
        self.optimizer = build_optim_wrapper(self.model, optim_wrapper(config))
        width, height = config["image"]["train"][-1]
        self.batch = random_batch(settings.images_per_gpu, height, width, len(dataset["categories"]))

    def burst(self, steps: int) -> list[float]:
        """Train that many steps; the seconds of each. On a GPU its cache is given back to the others afterwards."""
        import copy

        import torch

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
        import torch

        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return _peak_rss() - self.before

    def _wait(self) -> None:
        import torch

        if self.cuda:
            torch.cuda.synchronize()


def _peak_rss() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_batch(images: int, height: int, width: int, classes: int) -> dict[str, list[Any]]:
    """What the data loader would give: noise with OBJECTS ellipses of all sizes and classes in each image."""
    import contrastmask.models  # isort: skip  # noqa: F401  # puts torchvision's operators behind mmcv's
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

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


# ---------------------------------------------------------------------------- the parent


@contextmanager
def running(system: System, settings: Settings) -> Iterator[Connection]:
    """The system's process, warm; yields the pipe to it."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, system.config, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        answer(ours, system)
        yield ours
        ours.send(None)
    finally:
        process.join(timeout=10)
        process.kill()


def answer(pipe: Connection, system: System) -> Any:
    """What the system's process says next.

    Raises:
        BenchError: it failed, or is gone (killed for memory, say).
    """
    try:
        said = pipe.recv()
    except EOFError:
        raise BenchError(f"{system.name}: its process ended, perhaps for want of memory") from None
    if isinstance(said, str):
        raise BenchError(f"{system.name}: {said}")
    return said


def burst(pipe: Connection, system: System, steps: int) -> tuple[list[float], float]:
    """Seconds of each step and the peak memory so far."""
    pipe.send(steps)
    return answer(pipe, system)


def compare(systems_: Sequence[System], settings: Settings, steps: int, repeats: int) -> Iterator[Readings]:
    """The readings of each system, the baseline first; two processes at most are alive at once."""
    baseline, *others = systems_
    with running(baseline, settings) as reference:
        own = [burst(reference, baseline, steps) for _ in range(repeats)]
        seconds, memory = np.array([times for times, _ in own]), own[-1][1]
        yield Readings(seconds, seconds, memory, memory)
        for system in others:
            with running(system, settings) as pipe:
                pairs = [(burst(reference, baseline, steps), burst(pipe, system, steps)) for _ in range(repeats)]
            yield Readings(
                seconds=np.array([theirs[0] for _, theirs in pairs]),
                baseline=np.array([ours[0] for ours, _ in pairs]),
                memory=pairs[-1][1][1],
                baseline_memory=memory,
            )


def cells(name: str, found: Readings) -> list[str]:
    """A system's line, under HEAD."""
    ratio = found.memory / found.baseline_memory
    return [
        name,
        f"{np.median(found.seconds):.3f}",
        _quartiles(found.seconds, 3),
        f"{np.median(found.ratios):.2f}",
        _quartiles(found.ratios, 2),
        f"{found.memory:.0f}",
        f"{ratio:.2f}",
    ]


def _quartiles(values: np.ndarray, digits: int) -> str:
    return " - ".join(f"{value:.{digits}f}" for value in np.percentile(values, (25, 75)))


def notes(settings: Settings, config: dict[str, Any], gpus: Sequence[str], steps: int, repeats: int) -> list[str]:
    """What the numbers are, and of which machine."""
    from contrastmask.engine.provenance import provenance

    facts = provenance()
    width, height = config["image"]["train"][-1]
    threads = settings.scale["threads"]
    device = facts["hw.gpu"] if gpus else f"{facts['hw.cpu']}, {threads} thread{'s' * (threads > 1)}"
    kind = "Tensors on the GPU at their peak" if gpus else "Peak resident memory beyond the libraries'"
    return [
        f"Scale {settings.scale['name']}, {device}, torch {facts['version.torch']}: a step of {settings.images_per_gpu}"
        f" images of {width} x {height} random pixels with {OBJECTS} objects each, without data loading.",
        f"Median and quartiles over {repeats} bursts of {steps} steps, which take turns with the baseline's; a ratio is"
        " that of two neighbouring bursts.",
        f"{kind}, in a process of its own for each system. All have the baseline's backbone, ResNet-50.",
    ]


def chosen(settings: Settings, methods: Sequence[str]) -> list[System]:
    """The baseline and the systems of these methods (all if none is named), with the baseline's backbone.

    Raises:
        ConfigError: a method that no system has.
    """
    every = systems(settings, backbone="r50")
    there = list(dict.fromkeys(system.spec.method for system in every))
    unknown = [method for method in methods if method not in there]
    if unknown:
        raise ConfigError(f"no system of method {', '.join(unknown)}; there are: {', '.join(there)}")
    wanted = {*methods, BASELINE} if methods else set(there)
    return sorted((s for s in every if s.spec.method in wanted), key=lambda system: system.spec.method != BASELINE)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.engine.bench", description=__doc__)
    parser.add_argument("--scale", default="smoke", help="a file in configs/scales; paper wants a GPU")
    parser.add_argument("--methods", nargs="+", default=[], help="default: all")
    parser.add_argument("--steps", type=int, default=3, help="of a burst")
    parser.add_argument("--repeats", type=int, default=5, help="bursts of each system")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    try:
        if min(given.steps, given.repeats) < 1:
            raise ConfigError("--steps and --repeats must be at least 1")
        settings = without_data(given.scale)
        listed = chosen(settings, given.methods)
        with lease(1) as gpus:
            if gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
            rows = []
            for system, found in zip(listed, compare(listed, settings, given.steps, given.repeats), strict=True):
                rows.append(cells(system.name, found))
                print(f"{len(rows)}/{len(listed)} {system.name}: x {rows[-1][3]}", file=sys.stderr, flush=True)
            said = notes(settings, listed[0].config, gpus, given.steps, given.repeats)
    except (ConfigError, GpuError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(grid.write(given.results / settings.scale["name"] / "bench", "bench", said, HEAD, rows, left=1), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
