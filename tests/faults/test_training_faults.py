"""Faults of one training, each at random moments; afterwards the same commands go on."""

import random
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from faults.check import check, read
from faults.ledger import Ledger
from faults.micro import EVERY, ITERATIONS, Results
from faults.suite import FULL, full_only, times

New = Callable[[], Results]
LOSSES = ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask", "loss_contrast")


def checkpoints(results: Results) -> list[Any]:
    return sorted(results.work.glob("iter_*.pth"), key=lambda path: int(path.stem[5:]))


def failed_readably(said: str, *texts: str) -> None:
    """One message, which says what matters, and no traceback."""
    assert "Traceback" not in said, said
    assert "Error: " in said, said
    for text in texts:
        assert text in said, said


def test_sigkill(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    """Of training or evaluation, one after the other until the chain is through."""
    left, longest = times(40, 2), read(undisturbed.run / "train.json")["seconds"] + 2
    while left:
        results = new_results()
        with ledger.injecting("SIGKILL of the trainer", "goes on from the last checkpoint", 0):
            while left and not (results.run / "metrics.json").exists():
                command = results.begin(*results.verb("evaluate" if (results.run / "train.json").exists() else "train"))
                time.sleep(moments.uniform(0, longest))
                if command.running:
                    command.signal(signal.SIGKILL)
                    left -= 1
                    ledger.count("SIGKILL of the trainer")
                assert command.wait() in (0, -signal.SIGKILL), command.said
            results.go_on()
            check(results, undisturbed)


def test_sigterm_with_a_short_grace(
    new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random
) -> None:
    """SIGTERM, and SIGKILL so soon after it that the checkpoint may not be written."""
    for _ in range(times(5, 1)):
        results = new_results()
        with ledger.injecting("SIGTERM, SIGKILL up to 2 s later", "a checkpoint where the grace was enough"):
            command = results.train_until(moments.randint(1, ITERATIONS - 1))
            command.signal(signal.SIGTERM)
            time.sleep(moments.uniform(0, 2))
            if command.running:
                command.signal(signal.SIGKILL)
            assert command.wait() in (0, 143, -9), command.said
            results.go_on()
            check(results, undisturbed)


@pytest.mark.parametrize("damage", ["truncated", "a bit flipped"])
def test_damaged_checkpoint(
    new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random, damage: str
) -> None:
    """The newest, or all of them, after a kill."""
    for number in range(times(4, 1)):
        results = new_results()
        with ledger.injecting(f"checkpoint {damage}", "set aside; the one before, or the start"):
            command = results.train_until(2 * EVERY + 1)
            command.signal(signal.SIGKILL)
            command.wait()
            found = checkpoints(results)
            assert found
            for path in found if number % 3 == 2 else found[-1:]:
                spoil(path, damage, moments)
            results.go_on()
            assert list(results.work.glob("*.corrupt"))
            check(results, undisturbed)


def test_damaged_final_weights(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    """Evaluation refuses them and says what to do."""
    results = new_results()
    assert results.train().code == 0
    for damage in ("truncated", "a bit flipped")[: times(2, 1)]:
        for _ in range(times(2, 1)):
            with ledger.injecting("model.pth damaged", "refused by the evaluation; training gives it again"):
                spoil(results.run / "model.pth", damage, moments)
                command = results.evaluate()
                assert command.code == 1
                failed_readably(command.said, "model.pth", "delete it")
                (results.run / "model.pth").unlink()
                assert results.train().code == 0
    results.go_on()
    check(results, undisturbed)


def spoil(path: Any, damage: str, moments: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = moments.randrange(len(content))
    if damage == "truncated":
        del content[place:]
    else:
        content[place] ^= 1 << moments.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_in_a_loss(
    new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random, loss: str
) -> None:
    if loss != "loss_contrast" and not FULL:
        pytest.skip("the other losses are part of `make faults`")
    assert set(read(undisturbed.run / "train.json")["losses"]) == {"loss", "acc", *LOSSES}
    for iteration in (EVERY, *moments.sample(range(1, ITERATIONS + 1), times(1, 0))):
        results = new_results()
        with ledger.injecting(f"NaN in {loss}", "stops, named; every checkpoint is from before"):
            command = results.train({"name": "nan_loss", "loss": loss, "iteration": iteration})
            assert command.code == 1
            failed_readably(command.said, loss, f"not finite at iteration {iteration}")
            assert all(int(path.stem[5:]) < iteration for path in checkpoints(results))
            results.go_on()
            check(results, undisturbed)


def test_nan_in_the_weights(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    """After finite losses, in the very iteration that a checkpoint is saved."""
    for iteration in moments.sample(range(EVERY, ITERATIONS + 1, EVERY), times(2, 1)):
        results = new_results()
        with ledger.injecting("NaN in the weights after a finite loss", "not saved; stops, named"):
            command = results.train({"name": "nan_weights", "iteration": iteration})
            assert command.code == 1
            failed_readably(command.said, "not finite", f"iteration {iteration}")
            assert all(int(path.stem[5:]) < iteration for path in checkpoints(results))
            results.go_on()
            check(results, undisturbed)


def test_out_of_memory(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    for iteration in moments.sample(range(1, ITERATIONS + 1), times(3, 1)):
        results = new_results()
        with ledger.injecting("out of memory in a training step", "stops, says what to change; goes on"):
            command = results.train({"name": "out_of_memory", "iteration": iteration})
            assert command.code == 1
            failed_readably(command.said, "out of memory", "images_per_gpu")
            results.go_on()
            check(results, undisturbed)


def test_clock_set_back(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    for _ in range(times(2, 1)):
        results = new_results()
        with ledger.injecting("clock set back while training", "nothing depends on it"):
            jump = {"name": "clock_back", "after_s": moments.uniform(0, 3), "hours": moments.uniform(0.1, 50)}
            assert results.train(jump).code == 0
            results.go_on()
            check(results, undisturbed)


def test_two_trainers_of_one_run(new_results: New, undisturbed: Results, ledger: Ledger) -> None:
    for _ in range(times(2, 0)):
        results = new_results()
        with ledger.injecting("two trainers of one run", "the second waits and takes the result"):
            first, second = (results.begin(*results.verb("train")) for _ in range(2))
            codes = [first.wait(), second.wait()]
            assert codes == [0, 0] and "is trained already" in first.said + second.said
            results.go_on()
            check(results, undisturbed)


@full_only
def test_loader_worker_killed(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    for _ in range(times(3, 0)):
        results = new_results()
        with ledger.injecting("a worker of the data loader killed", "stops, says so; goes on"):
            workers, slow = {"name": "loader_workers", "workers": 2}, {"name": "slow_iterations", "seconds": 0.1}
            command = results.train_until(moments.randint(1, ITERATIONS // 2), faults=(workers, slow))
            moments.choice(psutil.Process(command.pid).children()).kill()
            assert command.wait() == 1, command.said
            failed_readably(command.said, "data loader")
            results.go_on()
            check(results, undisturbed)
