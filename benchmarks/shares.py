"""Where a training step's time goes: images, backbone, region proposals, sampling, boxes, masks, contrast, the rest.

Each part is timed by itself, the GPU waited for at both ends; that makes a step a little longer than it is without.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

#: A part, and the object and method of a trainer that it is. A part inside another is taken off that.
PARTS = (
    ("images", "model.data_preprocessor", "forward"),
    ("backbone and neck", "model", "extract_feat"),
    ("region proposals", "model.rpn_head", "loss_and_predict"),
    ("sampling", "model.roi_head", "sample"),
    ("boxes", "model.roi_head", "bbox_loss"),
    ("masks", "model.roi_head", "mask_loss"),
    ("masks", "model.roi_head", "mask_losses"),
    ("contrast", "model.roi_head", "_regions_and_keys"),
    ("contrast", "model.roi_head", "_encode"),
    ("contrast", "model.roi_head", "_contrastive_loss"),
    ("gradients and step", "optimizer", "update_params"),
)
NAMES = (*dict.fromkeys(name for name, _, _ in PARTS), "rest")
HEAD = ("System", "precision", "ms / step", *NAMES)


class Shares:
    """Seconds of each part of the steps of a `Trainer`, from now on."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.within = trainer, [0.0]
        self.seconds: defaultdict[str, float] = defaultdict(float)
        for name, path, method in PARTS:
            owner = trainer
            for part in path.split("."):
                owner = getattr(owner, part)
            if hasattr(owner, method):
                # past Module.__setattr__, which takes modules alone
                object.__setattr__(owner, method, self._timed(name, getattr(owner, method)))

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.trainer._wait()
            start = time.perf_counter()
            self.within.append(0.0)
            result = call(*args, **kwargs)
            self.trainer._wait()
            took = time.perf_counter() - start
            self.seconds[name] += took - self.within.pop()
            self.within[-1] += took
            return result

        return timed

    def of_steps(self, steps: int) -> tuple[float, dict[str, float]]:
        """Mean seconds of a step, and of each part of it under NAMES."""
        self.seconds.clear()
        total = sum(self.trainer.burst(steps))
        parts = {name: self.seconds[name] / steps for name in NAMES[:-1]}
        return total / steps, parts | {"rest": total / steps - sum(parts.values())}


def cells(name: str, precision: str, found: tuple[float, dict[str, float]]) -> list[str]:
    """A line under HEAD, shares in %."""
    total, parts = found
    return [name, precision, f"{1000 * total:.1f}", *(f"{100 * parts[part] / total:.0f}" for part in NAMES)]


def notes(steps: int) -> Sequence[str]:
    """What the numbers are."""
    return [
        f"Shares of a training step in %, mean of {steps} steps, the GPU waited for before and after each part. Images"
        " are copied and normalised, their objects' masks copied too. The encoder of the contrastive head counts as"
        " contrast, the stock model's sampling as the rest. All gradients are in one part with the optimiser's step.",
    ]
