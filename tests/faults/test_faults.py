"""Each kind of fault, at random moments of the real commands; the same commands then go on as if nothing had been."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from faults.check import check
from faults.harness import FULL, Chain, Results
from faults.kinds import KINDS, Case, Disk, Kind
from faults.ledger import Ledger


@contextmanager
def case(kind: Kind, prepared: Results, folder: Path, moments: random.Random) -> Iterator[Case]:
    """Prepared results for one fault, and nothing of them afterwards: each holds tens of megabytes."""
    folder.mkdir()
    chain = kind.on == "chain"
    results = Chain(prepared, folder / "project") if chain else prepared.copy(folder / "results")
    one = Case(results, moments, folder, None)
    try:
        with Disk(folder / "disk") if kind.on == "disk" else nullcontext() as one.small_disk:
            yield one
    finally:
        for process in one.results.processes():
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_same_commands_go_on(
    kind: Kind, prepared: Results, undisturbed: Results, ledger: Ledger, moments: random.Random, tmp_path: Path
) -> None:
    wanted = kind.full if FULL else kind.short
    if not wanted:
        pytest.skip("part of `make faults`")
    injected = tries = 0
    while injected < wanted:
        tries += 1
        assert tries <= 3 * wanted, "mostly there was nothing to break"
        with (
            case(kind, prepared, tmp_path / str(tries), moments) as one,
            ledger.injecting(kind.name, kind.how) as line,
        ):
            done = kind.inject(one)
            done = 1 if done is None else done
            injected, line.injected = injected + done, line.injected + done - 1
            one.results.go_on()
            check(one.results, undisturbed)
