"""The share of the training that is done reaches the RoI head in mmengine's own loops."""

import pytest
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

import contrastmask.training.steps  # noqa: F401  # registers the hook


class Detector(BaseModel):
    """A weight, and what the RoI head knew of the training at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.roi_head, self.seen = nn.Linear(1, 1), nn.Module(), []
        self.roi_head.progress = 0.0

    def forward(self, inputs: Tensor, mode: str) -> dict[str, Tensor]:
        self.seen.append(self.roi_head.progress)
        return {"loss": self.weight(inputs).sum()}


@pytest.mark.parametrize("loop", [{"by_epoch": True, "max_epochs": 2}, {"by_epoch": False, "max_iters": 8}])
def test_progress_rises_from_0_by_equal_steps(loop: dict, tmp_path) -> None:
    model = Detector()
    Runner(
        model,
        str(tmp_path),
        train_dataloader=DataLoader(
            [[[float(n)]] for n in range(4)], collate_fn=lambda items: {"inputs": Tensor(items[0])}
        ),
        train_cfg=loop,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}},
        default_hooks=dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")),
        custom_hooks=[{"type": "TrainingProgress"}],
        log_level="ERROR",
        experiment_name="progress",
    ).train()
    assert model.seen == [n / 8 for n in range(8)]
