"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine is slow, not wrong
settings.register_profile("project", deadline=None)
settings.load_profile("project")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of material that is not part of the project (photos, reference results).

    `CONTRASTMASK_SHARED`, or `../shared` beside the repository; tests that need it are skipped without it.
    """
    folder = Path(os.environ.get("CONTRASTMASK_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared material in {folder}; set CONTRASTMASK_SHARED to its folder")
    return folder
