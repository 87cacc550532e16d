"""What stops a training from outside is said as one message."""

import pytest
import torch

from contrastmask.errors import DataError, Failed
from contrastmask.training.failures import readable


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (MemoryError(), r"out of memory \(no more can be had\)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "lower images_per_gpu"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), r"data loader was killed.*\(pid 7\)"),
        (ConnectionResetError(104, "Connection reset by peer"), "data loader was killed.*reset by peer"),
        (EOFError(), r"data loader was killed.*\(EOFError\)"),
    ],
)
def test_one_message_says_what_to_do(raised: Exception, text: str) -> None:
    with pytest.raises(Failed, match=text) as said, readable():
        raise raised
    assert "the same command goes on" in str(said.value)


def test_a_process_of_the_data_loader_wraps_a_data_error_in_its_traceback() -> None:
    with pytest.raises(DataError, match=r"^a\.jpg is cut$"), readable():
        raise DataError("Caught DataError in DataLoader worker process 0.\nTraceback ...\nDataError: a.jpg is cut\n")


def test_what_is_a_mistake_of_the_code_stays_one() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), readable():
        raise RuntimeError("shapes differ")
