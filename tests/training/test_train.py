"""The length of a training, its learning rate, and where it goes on from."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contrastmask.errors import DataError, Failed
from contrastmask.training import checkpoint, train
from contrastmask.training.hooks import Record, _check_finite
from contrastmask.training.record import _made_of, begin_record
from contrastmask.training.train import optim_wrapper, schedulers, total_iterations


def config(**changes: Any) -> dict[str, Any]:
    return {
        "batch": 16,
        "schedule": {"length": 1, "drops": [8 / 12, 11 / 12]},
        "one_x": {"epochs": 12},
        "warmup_iterations": 500,
        "warmup_factor": 0.001,
        "optimizer": {"type": "SGD", "lr": 0.02},
        "clip_grad": None,
        "paramwise": None,
        "amp": False,
    } | changes


def test_1x_on_coco_is_12_epochs() -> None:
    assert total_iterations(config(), 117_266) == math.ceil(12 * 117_266 / 16) == 87_950


def test_3x_is_three_times_as_long() -> None:
    length = {"length": 3, "drops": [0.75, 11 / 12]}
    assert total_iterations(config(schedule=length), 16_000) == 36_000
    assert total_iterations(config(schedule=length, one_x={"iterations": 7}), 5) == 21
    assert total_iterations(config(schedule=length | {"length": 0.01}, one_x={"iterations": 7}), 5) == 1


def test_a_smaller_batch_takes_more_iterations() -> None:
    assert total_iterations(config(batch=2), 16_000) == 8 * total_iterations(config(), 16_000)


def rates_of(config: dict[str, Any], total: int) -> list[float]:
    """The learning rate of each iteration."""
    from mmengine.optim.scheduler import LinearLR, MultiStepLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    kinds = {"LinearLR": LinearLR, "MultiStepLR": MultiStepLR}
    built = [kinds[s.pop("type")](optimizer, **s) for s in schedulers(config, total)]
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return rates


@pytest.mark.parametrize("iterations", [0, 1])
def test_without_warm_up_the_rate_is_whole_from_the_start(iterations: int) -> None:
    assert rates_of(config(warmup_iterations=iterations), 3) == pytest.approx([0.02, 0.02, 0.002])


def test_learning_rate_warms_up_and_drops_where_the_paper_says() -> None:
    """12 epochs of 1000 iterations: 0.02, /10 after 8 epochs, /100 after 11."""
    rates = rates_of(config(), 12_000)
    assert rates[0] == pytest.approx(0.02 / 1000)
    assert rates[250] == pytest.approx(0.01, rel=0.02)
    assert rates[500] == rates[7_999] == pytest.approx(0.02)
    assert rates[8_000] == rates[10_999] == pytest.approx(0.002)
    assert rates[11_000] == pytest.approx(0.0002)


def test_amp_is_bf16_autocast() -> None:
    assert optim_wrapper(config(amp=True))["type"] == "AmpOptimWrapper"
    assert optim_wrapper(config(amp=True))["dtype"] == "bfloat16"
    assert optim_wrapper(config())["type"] == "OptimWrapper"


def test_the_optimiser_is_fused_unless_the_configuration_says_otherwise() -> None:
    assert optim_wrapper(config())["optimizer"] == {"type": "SGD", "lr": 0.02, "fused": True}
    for said in ({"type": "SGD", "foreach": True}, {"type": "AdamW", "fused": False}):
        assert optim_wrapper(config(optimizer=said))["optimizer"] == said


class FakeRun:
    """The attributes that `where_to_go_on` reads."""

    def __init__(self, work: Path) -> None:
        self.work, self.identity, self.code = work, "me", "now"


@pytest.mark.parametrize(
    ("iteration", "code", "expected"),
    [(0, "", 0), (4, "old", 4), (10, "now", 10), (10, "old", 0)],
    ids=["no checkpoint", "half done, even by other code", "finished by the same code", "finished by other code"],
)
def test_where_a_training_goes_on(tmp_path: Path, iteration: int, code: str, expected: int) -> None:
    if iteration:
        checkpoint.save(tmp_path, {"identity": "me", "iteration": iteration, "code": code}, iteration)
    found, state = train.where_to_go_on(FakeRun(tmp_path), 10)  # type: ignore[arg-type]
    assert found == expected and (state is not None) == bool(expected) == bool(list(tmp_path.glob("iter_*.pth")))


@pytest.mark.parametrize("key", ["config_hash", "code", "dataset", "split"])
def test_a_training_from_the_start_mixes_with_no_other(tmp_path: Path, key: str) -> None:
    (tmp_path / "work").mkdir()
    same = {"config_hash": "a", "code": "a", "dataset": {"digest": "a"}, "split": {"digest": "a"}}
    run: Any = SimpleNamespace(folder=tmp_path, title="", **same)
    first = begin_record(run, 0)
    first.tags(_made_of(run))
    other: Any = SimpleNamespace(**vars(run) | {key: {"digest": "b"} if key in ("dataset", "split") else "b"})
    assert begin_record(run, 0).id == begin_record(other, 4).id == first.id != begin_record(other, 0).id


def test_annotations_that_the_split_did_not_write_are_not_trained_on(tmp_path: Path) -> None:
    """Such as those with every mask, which an upper bound alone may read."""
    (tmp_path / "instances_train.json").write_text("{}")
    split = {"sha256": "0" * 64}
    run: Any = SimpleNamespace(file=lambda name: tmp_path / "instances_train.json", split=split, uses_novel_masks=False)
    with pytest.raises(DataError, match=r"instances_train.json: changed since"):
        train.open_stream(run)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_loss_that_is_not_finite_is_named(bad: Any) -> None:
    with pytest.raises(Failed, match=r"loss_mask.*iteration 7"):
        _check_finite({"loss": 1.0, "loss_mask": bad}, 7)


def test_a_point_begun_before_a_stop_is_finished_after_it() -> None:
    record = Record(None, total=4000, images=2)
    assert record.every == 4
    record.sums, record.count = {"loss": torch.tensor(3.0)}, 2
    again = Record(None, total=4000, images=2)
    again.load_state_dict(record.state_dict())
    assert (float(again.sums["loss"]), again.count) == (3.0, 2)


def test_a_point_is_the_mean_over_its_iterations() -> None:
    record, again = (Record(None, total=4000, images=2) for _ in range(2))
    for number, loss in enumerate((1.0, 2.0, 3.0, 6.0)):
        runner: Any = SimpleNamespace(iter=number)
        record.after_train_iter(runner, number, outputs={"loss": torch.tensor(loss)})
    assert (record.last, record.sums, record.count) == ({"loss": 3.0}, {}, 0)
    again.load_state_dict(record.state_dict())
    assert again.last == {"loss": 3.0}, "a training that is stopped after it says the same at its end"
