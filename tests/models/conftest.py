"""Fixtures of the model tests."""

from collections.abc import Iterator

import pytest
import torch
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def mmdet_scope() -> None:
    """Where mmengine looks for what a configuration names."""
    init_default_scope("mmdet")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tests share their machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
