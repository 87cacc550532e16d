"""Tells the RoI head how much of the training is done."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from contrastmask.training.steps import bare


@HOOKS.register_module()
class TrainingProgress(Hook):
    """Sets `roi_head.progress` before each iteration, for the warm-up of loss weights (lambda of Eq. 5).

    In mmengine's own loops as in this project's: a configuration names it among `custom_hooks`.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        bare(runner.model).roi_head.progress = runner.iter / runner.max_iters
