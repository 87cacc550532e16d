"""A run that starts from the scale's detector."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.bench_step import Trainer
from contrastmask.config import load_tables, resolve, settings_with
from contrastmask.training import checkpoint
from contrastmask.training.hooks import StartFrom


class Small(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, classes)
        self.register_buffer("is_base", torch.zeros(3, dtype=torch.bool))


def test_what_both_have_is_taken_and_nothing_else(tmp_path: Path) -> None:
    other, model = Small(3), Small(5)
    other.is_base[:] = True
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoint.save_weights(tmp_path / "model.pth", other.state_dict() | {"extra": torch.ones(1)}, {})
    StartFrom(tmp_path / "model.pth").before_train(SimpleNamespace(model=model))  # type: ignore[arg-type]
    after = model.state_dict()
    assert torch.equal(after["shared.weight"], other.shared.weight)
    assert torch.equal(after["head.weight"], before["head.weight"])  # of another shape
    assert not after["is_base"].any()


@pytest.fixture(scope="module")
def detector() -> dict[str, Any]:
    settings = settings_with({"scale": "garments", "data_root": "clone", "gpus_per_run": 1})
    run = load_tables(settings)["table2"].rows[0].run
    assert run is not None and run.start is not None
    return {"settings": settings, "config": resolve(run.start, settings), "row": resolve(run, settings)}


def test_the_detector_trains_without_masks_and_gives_every_part_but_the_mask_branch(detector: dict[str, Any]) -> None:
    trainer = Trainer(detector["config"], detector["settings"])
    batch = {key: items[:1] for key, items in trainer.batch.items()}
    losses = trainer.model.train_step(batch, trainer.optimizer)
    assert not any("mask" in name for name in losses) and torch.isfinite(losses["loss"])
    names = set(trainer.model.state_dict())
    row = Trainer(detector["row"], detector["settings"]).model.state_dict()
    assert {name for name in row if name not in names} == {name for name in row if "mask_head" in name}
    assert names <= set(row)
