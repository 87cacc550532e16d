"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_two_rows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/two_rows.py", f"--results={tmp_path / 'results'}", f"--out={tmp_path / 'drawn'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "query-sharing=yes" in done.stdout and "IoU" in done.stdout
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert len(drawn) == 3 and all(str(path) in done.stdout for path in drawn)
    assert all(Image.open(path).size == (96, 96) for path in drawn)
