"""Every system of Table 1 and of the extra tables takes a training step at the scales that a laptop runs.

Scale paper's networks are built in test_paper_scale.py, smoke's are trained end to end.
"""

import pytest
import torch

from benchmarks.bench_step import Trainer
from benchmarks.systems import System, systems, without_data

SCALES = ("coco-mini",)


@pytest.mark.parametrize(
    ("scale", "system"),
    [pytest.param(scale, s, id=f"{scale}-{s.spec.id}") for scale in SCALES for s in systems(without_data(scale))],
)
def test_a_step(scale: str, system: System) -> None:
    trainer = Trainer(system.config, without_data(scale))
    losses = trainer.model.train_step(trainer.batch, trainer.optimizer)
    assert {name for name in losses if "mask" in name} and all(torch.isfinite(value).all() for value in losses.values())
