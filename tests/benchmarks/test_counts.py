"""What counts as an operator and as a halt."""

from types import SimpleNamespace

import torch

from benchmarks.counts import counted


def test_values_read_and_shapes_that_depend_on_values_are_halts() -> None:
    x = torch.arange(6.0)

    def step(_: int) -> None:
        x.sum().item()  # one
        x[x > 2].mul(2)  # two, by nonzero
        x.unique()  # three
        x.where(x > 2, 0).mul(2)  # none

    operators, halts = counted(SimpleNamespace(burst=step))
    assert halts == 3
    assert operators > 8
