"""Throughput of ContrastMask beside mmdet's Mask R-CNN on a GPU: `make bench-gpu`.

Images/s and peak memory of a training step of both presets, the baseline and mmdet's stock Mask R-CNN (R-50-FPN), in
fp32 and under bf16 autocast, and the shares of its parts (shares.py); then the stand-in operators against a reference
(bench_ops.py). Writes results/gpu/{bench,shares,ops}.{md,csv}. `--device cpu` is a dry run, kept in
results/gpu-dry-run.
"""

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output, shares
from benchmarks.bench import WARM_UP, BenchError, exit_code
from benchmarks.output import stamp
from benchmarks.shares import Shares
from benchmarks.systems import BASELINE, without_data
from contrastmask.config import Settings, resolve, run_spec
from contrastmask.errors import ConfigError, GpuError
from contrastmask.runtime.gpu import lease, visible_gpus
from contrastmask.runtime.provenance import provenance

TIMED_IN_PARTS = 8  # steps
STOCK = "Mask R-CNN (mmdet's stock)"
OURS = {preset: f"ContrastMask ({preset})" for preset in ("paper", "official")}
GOALS = {OURS["paper"]: 1.5, OURS["official"]: 1.2}  # images/s at bf16, in those of the stock system at fp32
HEAD = ("System", "precision", "batch", "images / s", "quartiles", "MiB", "x stock fp32")


@dataclass(frozen=True)
class Case:
    """A system in one precision. `config` is the baseline's for the stock one, whose network is not in it."""

    name: str
    precision: str
    config: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"


@dataclass(frozen=True)
class Reading:
    """Seconds of each step on `batch` images, peak MiB; a step's seconds and those of its parts (see shares.py)."""

    batch: int
    seconds: np.ndarray
    memory: float
    parts: tuple[float, dict[str, float]] = (0.0, {})

    @property
    def rate(self) -> float:
        """Images/s of the median step."""
        return self.batch / float(np.median(self.seconds))


Readings = dict[tuple[str, str], Reading]  # of (system, precision)


def cases(settings: Settings, width: int, height: int) -> list[Case]:
    """What is measured: stock Mask R-CNN, the baseline and both presets, each in fp32 and under bf16 autocast."""
    row = {"backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}
    baseline = resolve(run_spec(row | {"method": BASELINE}, "paper"), settings)
    configs = {STOCK: baseline, "Mask R-CNN (baseline)": baseline}
    for preset, name in OURS.items():
        configs[name] = resolve(run_spec(row | {"method": "contrastmask"}, preset), settings)
    changes = {"image": baseline["image"] | {"train": [[width, height]]}}
    return [
        Case(name, precision, config | changes | {"amp": precision == "bf16"})
        for name, config in configs.items()
        for precision in ("fp32", "bf16")
    ]


@contextmanager
def on_device(kind: str) -> Iterator[None]:
    """This process sees one leased GPU, or none if `kind` is cpu.

    Raises:
        GpuError: there is none, or torch cannot use it.
    """
    if kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        yield
        return
    if not visible_gpus():
        raise GpuError("there is no GPU here, and this measures one; --device cpu is a dry run of its parts")
    with lease(1) as gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        import torch

        if not torch.cuda.is_available():
            raise GpuError(
                f"torch {torch.__version__} cannot use GPU {gpus[0]}: it needs a build for CUDA (this one is for "
                f"{torch.version.cuda or 'the CPU'}) and a driver that is new enough for it"
            )
        yield


def measure(case: Case, settings: Settings, batch: int, steps: int) -> Reading:
    """At `batch` images, or the largest power of two below that the memory has room for.

    Raises:
        BenchError: it has none for a single image, or a step fails.
    """
    while True:
        try:
            return attempt(case, settings, batch, steps)
        except Exception as error:  # of any kind: the case is what a reader needs to know
            if batch == 1 or not no_memory(error):
                raise failure(f"{case}, batch {batch}", error) from error
        # out of the handler, whose exception holds the tensors
        print(f"{case}: no memory for {batch} images", file=sys.stderr, flush=True)
        batch = smaller(batch)


def failure(what: str, error: Exception) -> BenchError:
    """The error, with what it happened to and the first line of what it says."""
    return BenchError(f"{what}: {type(error).__name__}: " + str(error).partition("\n")[0])


def no_memory(error: Exception) -> bool:
    """Whether a GPU's memory was too small, in torch's words or those of CUDA's libraries."""
    return any(words in str(error) for words in ("out of memory", "ALLOC_FAILED"))


def attempt(case: Case, settings: Settings, batch: int, steps: int) -> Reading:
    """At `batch` images, after WARM_UP steps that do not count."""
    import torch

    gc.collect()  # the last system refers to itself
    torch.cuda.empty_cache()
    trainer = trainer_of(case, replace(settings, images_per_gpu=batch))
    seconds = trainer.burst(WARM_UP + steps)[WARM_UP:]
    memory = trainer.peak_memory()
    return Reading(batch, np.array(seconds), memory, Shares(trainer).of_steps(min(steps, TIMED_IN_PARTS)))


def trainer_of(case: Case, settings: Settings) -> Any:
    """What trains a case; the stock one with mmdet's network and optimiser."""
    from benchmarks.bench_step import Trainer
    from benchmarks.stock import stock_mask_rcnn

    if case.name != STOCK:
        return Trainer(case.config, settings)
    return Trainer(case.config, settings, lambda *_, **__: stock_mask_rcnn(settings.scale), fused=False)


def smaller(batch: int) -> int:
    """The largest power of two below `batch`, which is at least 2."""
    return 1 << ((batch - 1).bit_length() - 1)


def cells(case: Case, readings: Readings) -> list[str]:
    """A case's line, under HEAD."""
    found = readings[case.name, case.precision]
    quartiles = sorted(found.batch / np.percentile(found.seconds, (25, 75)))
    return [
        case.name,
        case.precision,
        str(found.batch),
        f"{found.rate:.2f}",
        " - ".join(f"{rate:.2f}" for rate in quartiles),
        f"{found.memory:.0f}",
        f"{found.rate / readings[STOCK, 'fp32'].rate:.2f}",
    ]


def goals(readings: Readings) -> list[str]:
    """ContrastMask at bf16 held against stock Mask R-CNN at fp32, a sentence for each preset."""
    stock = readings[STOCK, "fp32"]
    lines = []
    for name, goal in GOALS.items():
        found = readings[name, "bf16"]
        ratio = found.rate / stock.rate
        batches = "" if found.batch == stock.batch else f" (batch {found.batch} against {stock.batch})"
        lines.append(
            f"Goal, {name} at bf16 {goal} times as fast as stock Mask R-CNN at fp32: x {ratio:.2f}{batches}, "
            f"{'reached' if ratio >= goal else 'missed'}."
        )
    return lines


def notes(facts: dict[str, str], batch: int, readings: Readings) -> list[str]:
    """What the numbers are, and the goal."""
    from benchmarks.bench_step import OBJECTS

    fewer = sorted({found.batch for found in readings.values()} - {batch})
    return [
        f"{facts['device']}, torch {facts['torch']}, CUDA {facts['cuda']}, scale {facts['scale']}: training steps with"
        f" optimiser, without data loading, on images of {facts['pixels']} random pixels with {OBJECTS} objects each,"
        f" and as many positive RoIs as the sampler takes. Median and quartiles of {facts['steps']} steps; MiB of"
        " tensors at their peak.",
        f"fp32 is as torch has it by default: convolutions in {facts['convolutions']}, matrix products in"
        f" {facts['matmul']}. bf16 is autocast; RoI heads get features in fp32, mmdet's too, and the contrastive loss"
        " is in fp32.",
        f"Batch {batch}" + (f"; {' or '.join(map(str, fewer))} where memory has no room for it." if fewer else "."),
        *goals(readings),
    ]


def facts_of(settings: Settings, width: int, height: int) -> dict[str, str]:
    """What each line of the csv says of where it comes from."""
    import torch

    found = provenance()
    cuda = torch.cuda.is_available()
    has_tf32 = cuda and torch.cuda.get_device_capability() >= (8, 0)
    backends = {"convolutions": torch.backends.cudnn.conv, "matmul": torch.backends.cuda.matmul}  # type: ignore[attr-defined]
    return {
        "scale": settings.scale["name"],
        "pixels": f"{width} x {height}",
        "device": torch.cuda.get_device_name() if cuda else found["hw.cpu"],
        # torch says none for full fp32
        **{name: "tf32" if has_tf32 and kind.fp32_precision == "tf32" else "fp32" for name, kind in backends.items()},
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda) if cuda else "none",
        "torchvision": found["version.torchvision"],
        "mmdet": found["version.mmdet"],
        **stamp(found),
    }


def throughput(given: argparse.Namespace, settings: Settings, facts: dict[str, str], folder: Path) -> str:
    """Measure every case and write bench.{md,csv} and shares.{md,csv}. Returns the markdown of both.

    Raises:
        BenchError: a system that could not be measured.
    """
    listed = cases(settings, *pixels(given.size))
    readings: Readings = {}
    for number, case in enumerate(listed, start=1):
        found = measure(case, settings, given.batch, given.steps)
        readings[case.name, case.precision] = found
        print(f"{number}/{len(listed)} {case}: {found.rate:.2f} images/s", file=sys.stderr, flush=True)
    facts = facts | {"steps": str(given.steps)}
    rows = [cells(case, readings) for case in listed]
    text = output.write(folder, "bench", notes(facts, given.batch, readings), HEAD, rows, left=2, facts=facts)
    rows = [shares.cells(case.name, case.precision, readings[case.name, case.precision].parts) for case in listed]
    return (
        text
        + "\n"
        + output.write(
            folder, "shares", shares.notes(min(given.steps, TIMED_IN_PARTS)), shares.HEAD, rows, left=2, facts=facts
        )
    )


def operators(given: argparse.Namespace, facts: dict[str, str], folder: Path) -> tuple[str, list[str]]:
    """Check every operator and write ops.{md,csv}. Returns the markdown and which of them differ.

    Raises:
        BenchError: one that cannot be run.
    """
    from benchmarks import bench_ops
    from contrastmask.models.common import ops

    width, height = pixels(given.size)
    rows: list[list[str]] = []
    for operator in bench_ops.operators(height, width):
        try:
            rows += bench_ops.check(operator, given.device, given.steps)
        except Exception as error:  # of any kind: the operator is what a reader needs to know
            raise failure(operator.name, error) from error
    said = bench_ops.notes(ops.install(), given.steps)
    facts = facts | {"repeats": str(given.steps)}
    return output.write(folder, "ops", said, bench_ops.HEAD, rows, left=3, facts=facts), bench_ops.differing(rows)


def pixels(short: int) -> tuple[int, int]:
    """Width and height of an image with that short side, shaped as the paper's largest and padded as the network is."""
    width, height = (-(-side // 32) * 32 for side in (round(short * 1333 / 800), short))
    return width, height


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run")
    parser.add_argument("--scale", default="paper", help="a file in configs/scales; smoke makes a dry run short")
    parser.add_argument("--size", type=int, default=800, help="short side of the images, in pixels")
    parser.add_argument("--batch", type=int, default=16, help="images, where memory allows")
    parser.add_argument("--steps", type=int, default=50, help="timed, of each system")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    return exit_code(lambda: run(given))


def run(given: argparse.Namespace) -> int:
    """Measure and write; the exit code: 1 if an operator differs.

    Raises:
        ConfigError, GpuError, BenchError: naming what is wrong.
    """
    if min(given.batch, given.steps) < 1 or given.size < 64:
        raise ConfigError("--batch and --steps must be at least 1, --size at least 64")
    settings = without_data(given.scale)
    with on_device(given.device):
        folder = given.results / ("gpu" if given.device == "cuda" else "gpu-dry-run")
        if given.device == "cpu":
            print("A dry run on the CPU: its numbers mean nothing.\n")
        facts = facts_of(settings, *pixels(given.size))
        print(throughput(given, settings, facts, folder), flush=True)
        text, differing = operators(given, facts, folder)
        print(text, end="", flush=True)
    if differing:
        print(f"error: beyond the tolerance: {'; '.join(differing)}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
