"""What stops a training or an evaluation from outside, said as one message."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from contrastmask.errors import DataError, Failed

GOES_ON = "the same command goes on from the last checkpoint"


@contextmanager
def readable() -> Iterator[None]:
    """Memory, a process of the data loader and an image that is gone end the work with a message for people.

    Raises:
        Failed, DataError: instead of what torch raises for them.
    """
    try:
        yield
    except DataError as error:  # a process of the data loader wraps it in its own traceback
        raise DataError(str(error).rpartition("DataError: ")[2].strip()) from None
    except (ConnectionError, EOFError) as error:  # its process ended while it handed a batch over
        raise _loader_killed(error) from error
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is one
        text = str(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
            raise Failed(
                f"out of memory ({(text.strip() or 'no more can be had').splitlines()[0]}). Free some, or lower "
                f"images_per_gpu (--config images_per_gpu=N): the batch stays, in more passes; {GOES_ON}"
            ) from error
        if "DataLoader worker" in text:
            raise _loader_killed(error) from error
        raise


def _loader_killed(error: Exception) -> Failed:
    said = (str(error) or type(error).__name__).splitlines()[0]
    return Failed(
        f"a process of the data loader was killed, most often for want of memory ({said}): "
        f"lower `workers` in the scale, or free some; {GOES_ON}"
    )
