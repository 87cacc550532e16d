"""Fixtures that several test folders share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
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


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)`: a folder that `make(folder)` fills, once for all processes of pytest-xdist."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = common / name, common / f"{name}.done"
        with FileLock(common / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed to make it
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once
