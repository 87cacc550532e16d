"""Fixtures that several test folders share."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from contrastmask import paths

# a busy machine is slow, not wrong
settings.register_profile("project", deadline=None)
settings.load_profile("project")

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what a test starts: each core has a test of its own
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of material that is not part of the project (photos, reference results).

    `CONTRASTMASK_SHARED`, or `../shared` beside the repository; tests that need it are skipped without it.
    """
    folder = Path(os.environ.get("CONTRASTMASK_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared material in {folder}; set CONTRASTMASK_SHARED to its folder")
    return folder


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ to write into, which stands in the project's place."""
    folder = Path(shutil.copytree(paths.CONFIGS, tmp_path / "configs"))
    monkeypatch.setattr(paths, "CONFIGS", folder)
    return folder
