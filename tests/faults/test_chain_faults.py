"""Faults of the whole chain under Snakemake; afterwards the same command goes on."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.chain import Chain, move, wait_for_end
from faults.check import check, processes_of, results_are_equal
from faults.ledger import Ledger
from faults.micro import Results, until
from faults.suite import full_only, times

VICTIMS = ("Snakemake", "Snakemake and its jobs", "the trainer under Snakemake")


@pytest.fixture
def new_chain(prepared: Results, undisturbed: Results, tmp_path: Path) -> Iterator[Callable[[], Chain]]:
    chains: list[Chain] = []

    def make() -> Chain:
        chains.append(Chain(prepared, tmp_path / f"project{len(chains)}"))
        return chains[-1]

    yield make
    for chain in chains:
        for process in processes_of(chain):
            process.kill()


def test_sigkill_over_the_chain(
    new_chain: Callable[[], Chain], undisturbed: Results, ledger: Ledger, moments: random.Random
) -> None:
    """Of Snakemake, of its jobs, of both, one after the other until the chain is through."""
    victims = [VICTIMS[number % 3] for number in range(times(10, 1) - 1)] + [VICTIMS[1]]
    moments.shuffle(victims)
    chain = new_chain()
    while victims:
        fault = f"SIGKILL of {victims[-1]}"
        with ledger.injecting(fault, "the same command goes on; an orphan's result is taken"):
            snakemake = chain.start()
            if moments.random() < 0.5:  # half of them while a trainer is at work, the others at any time
                until(lambda chain=chain, snakemake=snakemake: chain.trainers() or snakemake.poll() is not None)
            time.sleep(moments.uniform(0, 15))
            if snakemake.poll() is None and kill(chain, victims[-1], snakemake.pid):
                victims.pop()
            else:
                ledger.lines[fault].injected -= 1  # nothing was there to kill
            if snakemake.wait(900) == 0:  # at once where it was killed; else it ends by itself
                wait_for_end(chain)
                check(chain, undisturbed)
                chain = new_chain()
    with ledger.injecting(fault, "", 0):
        assert chain.make() == 0, chain.said
        wait_for_end(chain)
        check(chain, undisturbed)
        assert not list((chain.project / ".snakemake" / "locks").glob("*"))
        assert "Traceback" not in chain.said


def kill(chain: Chain, victim: str, group: int) -> bool:
    """Whether there was something to kill."""
    if victim == VICTIMS[0]:
        os.kill(group, signal.SIGKILL)
    elif victim == VICTIMS[1]:
        os.kill(group, signal.SIGKILL)
        chain.kill_trainers()
    else:
        return chain.kill_trainers() > 0
    return True


@full_only
def test_two_snakemakes_in_one_folder(new_chain: Callable[[], Chain], undisturbed: Results, ledger: Ledger,
                                      moments: random.Random) -> None:  # fmt: skip
    for delay in (0.0, moments.uniform(0, 15)):
        chain = new_chain()
        with ledger.injecting("two snakemake at once in one folder", "the second is refused; nothing is made twice"):
            first = chain.start()
            time.sleep(delay)
            second = chain.start()
            codes = sorted((first.wait(900), second.wait(900)))
            assert codes in ([0, 0], [0, 1]), chain.said
            assert "Traceback" not in chain.said
            assert chain.make() == 0, chain.said
            wait_for_end(chain)
            check(chain, undisturbed)


@full_only
def test_sigterm_to_all_with_a_short_grace(
    new_chain: Callable[[], Chain], undisturbed: Results, ledger: Ledger, moments: random.Random
) -> None:
    """As a cluster or a shutdown does it: SIGTERM to every process, SIGKILL soon after."""
    for _ in range(times(2, 0)):
        chain = new_chain()
        with ledger.injecting("SIGTERM to the whole chain, SIGKILL 1-3 s later", "checkpoint in time; goes on"):
            snakemake = chain.start()
            until(lambda chain=chain: list(chain.work.glob("iter_*.pth")))
            for number, wait in ((signal.SIGTERM, moments.uniform(1, 3)), (signal.SIGKILL, 0.0)):
                for process in processes_of(chain):
                    process.send_signal(number)
                time.sleep(wait)
            snakemake.wait(60)
            assert chain.make() == 0, chain.said
            wait_for_end(chain)
            check(chain, undisturbed)


@full_only
def test_moved_to_another_place(
    new_chain: Callable[[], Chain], undisturbed: Results, tmp_path: Path, ledger: Ledger, moments: random.Random
) -> None:
    """Half-way, as a copy on another machine; and a finished one has nothing to do."""
    for number in range(times(2, 0)):
        chain = new_chain()
        old = chain.project
        with ledger.injecting("a project moved to another root half-way", "goes on there; the old place stays empty"):
            snakemake = chain.start()
            until(lambda chain=chain: list(chain.work.glob("iter_*.pth")))
            time.sleep(moments.uniform(0, 3))
            os.kill(snakemake.pid, signal.SIGKILL)
            chain.kill_trainers()
            snakemake.wait(60)
            wait_for_end(chain)
            move(chain, tmp_path / f"elsewhere{number}" / "project")
            assert chain.make() == 0, chain.said
            wait_for_end(chain)
            assert not old.exists()
            check(chain, undisturbed)
            assert chain.make() == 0 and "Nothing to be done" in chain.said


@full_only
def test_clock_set_back_between_two_commands(
    new_chain: Callable[[], Chain], undisturbed: Results, ledger: Ledger, moments: random.Random
) -> None:
    """What is there is of the future: Snakemake goes by the times of files."""
    chain = new_chain()
    with ledger.injecting("clock set back between two commands", "made again where times say so; same results"):
        assert chain.make() == 0, chain.said
        future = time.time() + 3600 * moments.uniform(1, 100)
        for path in (chain.folder / "micro" / "data").rglob("*"):
            os.utime(path, (future, future))
        chain.table.unlink()
        assert chain.make() == 0, chain.said
        wait_for_end(chain)
        results_are_equal(chain, undisturbed)
        check(chain, undisturbed)
