"""The chain as a user runs it, made once for all tests that read it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from end_to_end.chain import fresh_project, snakemake

GRABCUT = "mask-grabcut_r50_1x_nonvoc2voc"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "end_to_end" in item.path.parts:  # they run Snakemake in one folder: one process, one after the other
            item.add_marker(pytest.mark.xdist_group("chain"))


@pytest.fixture(scope="session")
def chain(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A project with Table 2, and the row of Table 1 that segments its baseline's boxes without a training."""
    return made_once("chain", lambda folder: make(folder, "table2", f"results/smoke/runs/{GRABCUT}/seed0/metrics.json"))


@pytest.fixture(scope="session")
def smoke(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A project with Tables 1-7, made from nothing by one command."""
    return made_once("smoke", make)


def make(folder: Path, *targets: str) -> None:
    done = snakemake(fresh_project(folder), *targets)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    (folder / "output.txt").write_text(done.stdout)


@pytest.fixture(params=["chain", pytest.param("smoke", marks=pytest.mark.slow)])
def project(request: pytest.FixtureRequest) -> Path:
    """The small chain in `make test`, all tables in `make test-all`."""
    return request.getfixturevalue(request.param)
