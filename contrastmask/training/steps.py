"""An optimisation step over the whole batch, on any number of processes.

A batch is cut into parts of `images` images. Each part is a forward and backward pass of its own with its own
randomness, and the step follows the mean of their gradients. One process with four parts, two with two and four with
one thus compute the same losses and the same step, up to the order in which numbers are added: the recipe does not
depend on how many GPUs there are. Losses, query groups and BatchNorm see one part at a time, as a GPU with 2 images
does in the paper's set-up. What a step needs to know of the training comes by hooks, so that mmengine's own loops can
tell it too.
"""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

Batch = dict[str, list[Any]]


@LOOPS.register_module()
class StepLoop(IterBasedTrainLoop):
    """mmengine's loop, whose iteration is a step; needs an optimiser wrapper that accumulates a process's parts.

    Args:
        max_iters: steps of the whole training.
        images: images of a part.
        seed: of what is drawn in a part. It is a function of (seed, number of the part in the batch, iteration), so
            that a resumed training repeats it, with other processes too.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader, *, max_iters: int, images: int, seed: int) -> None:
        super().__init__(runner, dataloader, max_iters, fast_forward_on_resume=True)
        self.images, self.seed = images, seed

    def run(self) -> Any:
        """Launch training."""
        # mmengine has just set the count of passes by that of steps: let it count from 0 and have no last one
        self.runner.optim_wrapper.initialize_count_status(self.runner.model, 0, -1)
        return super().run()

    def run_iter(self, data_batch: Batch) -> None:
        """One step: a pass for each part of this process."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        parts = cut(data_batch, self.images)
        outputs = []
        for number, part in enumerate(parts, start=self.runner.rank * len(parts)):
            torch.manual_seed(part_seed(self.seed, number, self._iter))
            outputs.append(self.runner.model.train_step(part, optim_wrapper=self.runner.optim_wrapper))
        means = {name: torch.stack([torch.as_tensor(o[name]) for o in outputs]).mean() for name in outputs[0]}
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=means)
        self._iter += 1


def part_seed(seed: int, number: int, iteration: int) -> int:
    """Seed of a part. torch's generators need well mixed bits; Python's hash of a tuple of ints is fixed and mixes."""
    return hash((seed, number, iteration)) & (2**63 - 1)


def cut(batch: Batch, images: int) -> list[Batch]:
    """A batch of lists, one item an image, as batches of `images` each."""
    count = len(next(iter(batch.values())))
    return [{key: items[at : at + images] for key, items in batch.items()} for at in range(0, count, images)]


def bare(model: torch.nn.Module) -> Any:
    """The detector inside mmengine's distributed wrapper, if there is one."""
    return model.module if is_model_wrapper(model) else model


# ---------------------------------------------------------------------------- hooks


@HOOKS.register_module()
class TrainingProgress(Hook):
    """Sets `roi_head.progress`, the share of the training that is done, for the warm-up of losses (lambda of Eq. 5)."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        bare(runner.model).roi_head.progress = runner.iter / runner.max_iters


@HOOKS.register_module()
class StepSeed(Hook):
    """Makes mmengine's loop draw what `StepLoop` draws, where a process takes its images in one pass.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_run(self, runner: Runner) -> None:
        torch.manual_seed(self.seed)  # the first weights come next

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        torch.manual_seed(part_seed(self.seed, runner.rank, runner.iter))
