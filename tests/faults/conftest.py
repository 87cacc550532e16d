"""Fixtures of the fault tests: the undisturbed run, and the record of what was injected."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.check import check
from faults.ledger import FILE, PAGE, Ledger, update
from faults.micro import Results, Warm, copy_of, micro_project
from faults.suite import FULL


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:  # they share one prepared project: one process, one after the other
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.xdist_group("faults"))


@pytest.fixture(scope="session")
def ledger() -> Iterator[Ledger]:
    """What was injected and survived; `make faults` keeps it in results/reference/faults and docs/reliability.md."""
    ledger = Ledger()
    ledger.file = FILE if FULL else None
    yield ledger
    if ledger.file:
        update(PAGE)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    process = Warm(micro_project(tmp_path_factory.mktemp("micro") / "project"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def prepared(warm: Warm) -> Results:
    """Data, split and an empty MLflow store."""
    results = Results(warm, warm.project.with_name("prepared"))
    results.prepare()
    return results


@pytest.fixture(scope="session")
def undisturbed(prepared: Results) -> Results:
    """What comes out when nothing happens."""
    results = copy_of(prepared, prepared.folder.with_name("undisturbed"))
    results.go_on()
    check(results, results)
    return results


@pytest.fixture
def new_results(prepared: Results, undisturbed: Results, tmp_path: Path) -> Iterator[Callable[[], Results]]:
    """Makes prepared results; those made before are deleted, since each holds tens of megabytes."""
    made: list[Results] = []

    def make() -> Results:
        for results in made:
            shutil.rmtree(results.folder, ignore_errors=True)
        made.append(copy_of(prepared, tmp_path / f"results{len(made)}"))
        return made[-1]

    yield make
    for results in made:
        shutil.rmtree(results.folder, ignore_errors=True)


@pytest.fixture
def moments(request: pytest.FixtureRequest, ledger: Ledger) -> random.Random:
    """Draws the random moments of a test; the seed is printed and recorded."""
    print(f"seed {ledger.seed} of {request.node.name}")
    return random.Random(f"{ledger.seed} {request.node.name}")
