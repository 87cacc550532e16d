"""`make parity` says why it compares nothing; with checkouts (THEIRS, VLKIT), that nothing differs."""

import os
import subprocess
import sys

import pytest

from contrastmask.paths import ROOT


def parity(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.parity", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_checkouts_it_is_skipped_with_a_reason() -> None:
    done = parity()
    assert (done.returncode, done.stdout[:8]) == (0, "skipped:")
    assert "huiserwang/ContrastMask" in done.stdout and "vlkit/vlkit" in done.stdout


@pytest.mark.slow
def test_nothing_differs_from_the_released_code() -> None:
    theirs, vlkit = os.environ.get("THEIRS"), os.environ.get("VLKIT")
    if not (theirs and vlkit):
        pytest.skip("set THEIRS and VLKIT to checkouts of huiserwang/ContrastMask and vlkit/vlkit")
    done = parity("--theirs", theirs, "--vlkit", vlkit)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
