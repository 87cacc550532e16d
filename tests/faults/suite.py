"""The two sizes of the suite: all of it by `make faults`, a fast part in `make test`."""

import os

import pytest

FULL = os.environ.get("CONTRASTMASK_FAULTS") == "full"
full_only = pytest.mark.skipif(not FULL, reason="part of `make faults`")


def times(full: int, fast: int) -> int:
    """How often a fault is injected by `make faults` and by `make test`."""
    return full if FULL else fast
