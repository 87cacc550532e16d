"""`make parity` says why it compares nothing; with checkouts (THEIRS, VLKIT, MMCV), that nothing differs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contrastmask.paths import ROOT

CHECKOUTS = ("theirs", "vlkit", "mmcv")


def parity(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.parity", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_without_checkouts_it_is_skipped_with_a_reason(tmp_path: Path) -> None:
    done = parity("--theirs", str(tmp_path))
    assert (done.returncode, done.stdout[:8]) == (0, "skipped:")
    assert "THEIRS" not in done.stdout
    assert "VLKIT=<checkout of vlkit/vlkit>, MMCV=<checkout of open-mmlab/mmcv at v1.3.9>" in done.stdout


@pytest.mark.slow
def test_nothing_differs_from_the_released_code() -> None:
    given = {name: os.environ.get(name.upper()) for name in CHECKOUTS}
    if not all(given.values()):
        pytest.skip("set THEIRS, VLKIT and MMCV to checkouts of the repositories that benchmarks/parity names")
    photos = os.environ.get("PHOTOS", "").split()
    arguments = [text for name, path in given.items() for text in (f"--{name}", str(path))]
    done = parity(*arguments, *(["--photos", *photos] if photos else []))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
