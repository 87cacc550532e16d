"""Cutting a step into parts, and what a part draws."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contrastmask.training.steps import StepLoop, cut, part_seed


def test_a_batch_is_cut_in_order_and_whole() -> None:
    batch = {"inputs": [0, 1, 2, 3], "data_samples": list("abcd")}
    assert cut(batch, 2) == [
        {"inputs": [0, 1], "data_samples": ["a", "b"]},
        {"inputs": [2, 3], "data_samples": ["c", "d"]},
    ]
    assert cut(batch, 4) == [batch]


def test_parts_have_their_own_randomness_and_the_same_again() -> None:
    drawn = [part_seed(0, 0, 0), part_seed(0, 0, 1), part_seed(0, 1, 0), part_seed(1, 0, 0)]
    assert len(set(drawn)) == 4 and all(0 <= seed < 2**63 for seed in drawn)
    assert part_seed(0, 0, 1) == drawn[1]


@pytest.mark.parametrize(("rank", "numbers"), [(0, [0, 1]), (3, [6, 7])])
def test_a_step_is_the_mean_of_its_parts_each_with_its_own_randomness(rank: int, numbers: list[int]) -> None:
    seeds, seen = [], []

    def train_step(part: dict, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        seeds.append(torch.initial_seed())
        return {"loss": torch.tensor(float(sum(part["inputs"])))}

    loop = StepLoop.__new__(StepLoop)  # without mmengine's runner
    model = SimpleNamespace(train_step=train_step)
    hooks = lambda name, **given: seen.append(given.get("outputs"))  # noqa: E731
    loop._runner = SimpleNamespace(rank=rank, model=model, optim_wrapper=None, call_hook=hooks)  # type: ignore[assignment]
    loop._iter, loop.images, loop.seed = 5, 2, 9
    loop.run_iter({"inputs": [1, 2, 3, 4]})
    assert seeds == [part_seed(9, number, 5) for number in numbers]
    assert seen == [None, {"loss": torch.tensor(5.0)}] and loop.iter == 6
