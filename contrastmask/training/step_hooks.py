"""What a step needs to know of the training, by hooks, so that mmengine's own loops can tell it too."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from contrastmask.training.steps import bare, part_seed


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
