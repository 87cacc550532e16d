"""The chain as a user runs it, made once for all tests that read it."""

from pathlib import Path

import pytest
from end_to_end.chain import fresh_project, snakemake

GRABCUT = "mask-grabcut_r50_1x_nonvoc2voc"


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with Table 2, and the row of Table 1 that segments its baseline's boxes without a training."""
    return made(tmp_path_factory.mktemp("chain"), "table2", f"results/smoke/runs/{GRABCUT}/seed0/metrics.json")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with Tables 1-7, made from nothing by one command."""
    return made(tmp_path_factory.mktemp("smoke"))


def made(folder: Path, *targets: str) -> Path:
    done = snakemake(fresh_project(folder), *targets)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    (folder / "output.txt").write_text(done.stdout)
    return folder


@pytest.fixture(params=["chain", pytest.param("smoke", marks=pytest.mark.slow)])
def project(request: pytest.FixtureRequest) -> Path:
    """The small chain in `make test`, all tables in `make test-all`."""
    return request.getfixturevalue(request.param)
