"""Operators and halts of a training step on the CPU, and its CPU time, beside mmdet's stock: `make bench-counts`.

A halt is where a GPU would have to wait for the CPU: a value read (`item`), or a shape that depends on values
(`nonzero`, which an index by a mask calls too, and `unique`). Scale smoke, ContrastMask's two presets, the baseline and
mmdet's stock Mask R-CNN, which has mmdet's optimiser too.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks.bench_gpu import STOCK, cases, trainer_of
from benchmarks.systems import without_data
from contrastmask.runtime.terminal import markdown

HALTS = ("aten::item", "aten::nonzero", "aten::_unique2", "aten::unique_consecutive", "aten::unique_dim")
HEAD = ("System", "operators", "x stock", "halts", "x stock", "CPU s / step", "least - largest", "x stock")


def counted(trainer: Any) -> tuple[int, int]:
    """Operators, those that others call included, and halts of one step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        trainer.burst(1)
    events = found.key_averages()
    operators = sum(e.count for e in events if e.key.startswith(("aten::", "torchvision::")))
    return operators, sum(e.count for e in events if e.key in HALTS)


@contextmanager
def no_step(trainer: Any) -> Iterator[None]:
    """AdamW's fused step aside, torch's optimisers read their own counters, which lie on the CPU: no halt."""
    step, trainer.optimizer.optimizer.step = trainer.optimizer.optimizer.step, lambda *_: None
    try:
        yield
    finally:
        trainer.optimizer.optimizer.step = step


def seconds(trainers: Sequence[Any], repeats: int) -> list[list[float]]:
    """CPU time of steps of each, in turn."""
    rows: list[list[float]] = [[] for _ in trainers]
    for _ in range(repeats):
        for row, trainer in zip(rows, trainers, strict=True):
            start = time.process_time()
            trainer.burst(1)
            row.append(time.process_time() - start)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args(arguments)
    settings = without_data("smoke")
    listed = [case for case in cases(settings, 128, 128) if case.precision == "fp32"]
    assert listed[0].name == STOCK
    trainers = [trainer_of(case, replace(settings, images_per_gpu=given.batch)) for case in listed]
    for trainer in trainers:
        trainer.burst(2)
    numbers = []
    for trainer in trainers:
        operators, _ = counted(trainer)
        with no_step(trainer):
            numbers.append((operators, counted(trainer)[1]))
    times = seconds(trainers, given.repeats)
    rows = []
    for case, (operators, halts), row in zip(listed, numbers, times, strict=True):
        ratio = statistics.median(mine / stock for mine, stock in zip(row, times[0], strict=True))
        of_stock = f"{operators / numbers[0][0]:.2f}", f"{halts / numbers[0][1]:.2f}"
        middle = f"{statistics.median(row):.3f}"
        spread = f"{min(row):.3f} - {max(row):.3f}"
        rows.append([case.name, str(operators), of_stock[0], str(halts), of_stock[1], middle, spread, f"{ratio:.2f}"])
    print(markdown(HEAD, rows, left=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
