"""Fixtures of the fault tests: the undisturbed run, and the record of what was injected."""

import random
from collections.abc import Iterator

import pytest
from faults.check import check
from faults.harness import FULL, Results, Warm, micro_project
from faults.ledger import FILE, PAGE, Ledger, update


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def ledger() -> Iterator[Ledger]:
    """What was injected and survived; `make faults` keeps it in results/reference/faults and docs/reliability.md."""
    ledger = Ledger()
    ledger.file = FILE if FULL else None
    yield ledger
    if ledger.file:
        update(PAGE)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """Data, split, config.json and an empty MLflow store."""
    warm = Warm(micro_project(tmp_path_factory.mktemp("micro") / "project"))
    results = Results(warm, warm.project.with_name("prepared"))
    results.prepare()
    yield results
    warm.close()


@pytest.fixture(scope="session")
def undisturbed(prepared: Results) -> Results:
    """What comes out when nothing happens."""
    results = prepared.copy(prepared.folder.with_name("undisturbed"))
    results.go_on()
    check(results, results)
    return results


@pytest.fixture
def moments(request: pytest.FixtureRequest, ledger: Ledger) -> random.Random:
    """Draws the random moments of a test; the seed is printed and recorded."""
    print(f"seed {ledger.seed} of {request.node.name}")
    return random.Random(f"{ledger.seed} {request.node.name}")
