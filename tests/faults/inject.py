"""What is changed in a process so that something goes wrong in it, at a chosen iteration."""

import time
from typing import Any


def _at_iteration(iteration: int, act: Any) -> None:
    """Call `act(losses)` on what the detector returns in that iteration of the training, counted from 1."""
    from mmengine.model import BaseModel

    from contrastmask.training.steps import StepLoop

    reached = {"iteration": 0}
    step, parse = StepLoop.run_iter, BaseModel.parse_losses

    def run_iter(self: Any, batch: Any) -> Any:
        reached["iteration"] = self.iter + 1
        return step(self, batch)

    def parse_losses(self: Any, losses: dict[str, Any]) -> Any:
        if reached["iteration"] == iteration:
            act(losses)
        return parse(self, losses)

    StepLoop.run_iter, BaseModel.parse_losses = run_iter, parse_losses


def nan_loss(loss: str, iteration: int) -> None:
    """One loss becomes NaN once."""

    def act(losses: dict[str, Any]) -> None:
        value = losses[loss]
        losses[loss] = [each * float("nan") for each in value] if isinstance(value, list) else value * float("nan")

    _at_iteration(iteration, act)


def nan_weights(iteration: int) -> None:
    """The losses stay finite, the step makes weights NaN: what a gradient that overflows does."""
    from mmengine.optim import OptimWrapper

    done = {"steps": 0}
    step = OptimWrapper.step

    def broken(self: Any, **arguments: Any) -> None:
        step(self, **arguments)
        done["steps"] += 1
        if done["steps"] == iteration:
            next(iter(self.param_groups[0]["params"])).data.fill_(float("nan"))

    OptimWrapper.step = broken


def out_of_memory(iteration: int) -> None:
    """A training step finds no memory."""
    import torch

    def act(losses: dict[str, Any]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …")

    _at_iteration(iteration, act)


def clock_back(after_s: float, hours: float) -> None:
    """Python's wall clock jumps back; the monotonic clock goes on, as the kernel's does."""
    real, real_ns, start = time.time, time.time_ns, time.monotonic()

    def shift() -> float:
        return 3600 * hours if time.monotonic() - start > after_s else 0.0

    time.time = lambda: real() - shift()
    time.time_ns = lambda: real_ns() - round(shift() * 1e9)


def slow_iterations(seconds: float) -> None:
    """Iterations take longer, so that a moment among them can be met."""
    from contrastmask.training.steps import StepLoop

    step = StepLoop.run_iter

    def run_iter(self: Any, batch: Any) -> Any:
        time.sleep(seconds)
        return step(self, batch)

    StepLoop.run_iter = run_iter
