"""Time and memory of a training step of every system, relative to Mask R-CNN: `python -m benchmarks.bench`.

Each system trains in a process of its own, on random pixels, all with the baseline's backbone. Its bursts of steps take
turns with the baseline's, and a ratio compares two neighbours, so that a machine that slows down meanwhile slows both.
Writes results/<scale>/bench/bench.{md,csv}.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import output
from benchmarks.systems import BASELINE, System, systems, without_data
from contrastmask.config.settings import Settings
from contrastmask.errors import ConfigError, Failed, GpuError
from contrastmask.runtime.gpu import lease

WARM_UP = 2  # steps that are not counted: the first ones allocate memory and choose algorithms
HEAD = ("System", "s / step", "quartiles", "time ratio", "ratio's quartiles", "MiB", "memory ratio")


class BenchError(Failed):
    """Something that could not be measured; the message names it and says why."""


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


def serve(pipe: Connection, config: dict[str, Any], settings: Settings) -> None:
    """In a process of its own: build a system, then answer numbers of steps with (seconds of each, peak MiB)."""
    try:
        from benchmarks.bench_step import Trainer

        trainer = Trainer(config, settings)
        trainer.burst(WARM_UP)
        pipe.send(None)
        while (steps := pipe.recv()) is not None:
            pipe.send((trainer.burst(steps), trainer.peak_memory()))
    except (KeyboardInterrupt, EOFError):
        return
    except Exception as error:  # of any kind: the parent says it, with the system's name
        pipe.send(error.__class__.__name__ + ": " + str(error).partition("\n")[0])


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
        process.join(timeout=10)
    finally:
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
    from contrastmask.runtime.provenance import provenance

    facts = provenance()
    width, height = config["image"]["train"][-1]
    threads = settings.scale["threads"]
    device = f"one of {facts['hw.gpu']}" if gpus else f"{facts['hw.cpu']}, {threads} thread{'s' * (threads > 1)}"
    kind = "Tensors on the GPU at their peak" if gpus else "Peak resident memory beyond the libraries'"
    return [
        f"Scale {settings.scale['name']}, {device}, torch {facts['version.torch']}: a step of {settings.images_per_gpu}"
        f" images of {width} x {height} random pixels with some objects each and as many positive RoIs as the sampler"
        " takes; without data loading.",
        f"Median and quartiles over {repeats} bursts of {steps} steps, which take turns with the baseline's; a ratio is"
        " that of two neighbouring bursts. Compare ratios: the seconds of two lines were not taken at the same time.",
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


def exit_code(work: Callable[[], int]) -> int:
    """What a benchmark's command ends with: its work's code, or one message."""
    try:
        return work()
    except (ConfigError, GpuError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--scale", default="smoke", help="a file in configs/scales; paper wants a GPU")
    parser.add_argument("--methods", nargs="+", default=[], help="default: all")
    parser.add_argument("--steps", type=int, default=3, help="of a burst")
    parser.add_argument("--repeats", type=int, default=5, help="bursts of each system")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    return exit_code(lambda: run(given))


def run(given: argparse.Namespace) -> int:
    """Measure and write; the exit code.

    Raises:
        ConfigError, GpuError, BenchError: naming what is wrong.
    """
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
    print(output.write(given.results / settings.scale["name"] / "bench", "bench", said, HEAD, rows, left=1), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
