"""Full disks, a tracking store that is locked, read-only or gone, data that changes; then the same commands go on."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.check import check
from faults.ledger import Ledger
from faults.micro import ITERATIONS, Command, Results, copy_of
from faults.suite import full_only, times
from faults.test_training_faults import failed_readably
from PIL import Image

New = Callable[[], Results]
MIB = 2**20


class Disk:
    """A small disk of memory that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"

    def fill(self, left: int) -> None:
        """Leave `left` bytes."""
        free = os.statvfs(self.folder)
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - left, 1))

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)

    def read_only(self, yes: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder)], check=True)


@contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "faults", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk") as disk:
        yield disk


def refused_or_done(command: Command, *texts: str) -> None:
    """What was left may have been enough; otherwise one message says what is full."""
    if command.wait() != 0:
        assert command.code == 1, command.said
        failed_readably(command.said, *texts)


def test_disk_full(prepared: Results, undisturbed: Results, disk: Disk, ledger: Ledger, moments: random.Random) -> None:
    """While checkpoints are written, then while metrics are, then while tables are."""
    for number in range(times(3, 1)):
        results = copy_of(prepared, disk.folder / f"results{number}")
        results.log = disk.folder.with_name(f"full{number}.log")  # what it says must have room elsewhere
        with ledger.injecting("disk full during a checkpoint", "stops, says so; earlier checkpoints are whole"):
            command = results.train_until(moments.randint(1, ITERATIONS - 3))
            disk.fill(moments.randint(0, 4 * MIB))
            refused_or_done(command, "No space left")
            disk.free()
            if not (results.run / "train.json").exists():
                assert results.train().code == 0
        with ledger.injecting("disk full while metrics are written", "stops, says so; nothing half-written"):
            disk.fill(moments.choice((0, moments.randint(0, 60_000))))
            refused_or_done(results.evaluate(), "No space left")
            disk.free()
            if not (results.run / "metrics.json").exists():
                assert results.evaluate().code == 0
        with ledger.injecting("disk full while tables are written", "stops, says so; no half table"):
            disk.fill(moments.choice((0, moments.randint(0, 12_000))))
            refused_or_done(results.tables(), "No space left")
            disk.free()
            results.go_on()
            check(results, undisturbed)
        shutil.rmtree(results.folder)


def on_the_disk(results: Results, disk: Disk) -> None:
    """MLflow's SQLite file on the small disk, all else elsewhere."""
    shutil.move(results.folder / "mlflow.db", disk.folder / "mlflow.db")
    (results.folder / "mlflow.db").symlink_to(disk.folder / "mlflow.db")


@pytest.mark.parametrize("fault", ["full", "read-only"])
@full_only
def test_disk_of_the_tracking_store(
    new_results: New, undisturbed: Results, disk: Disk, ledger: Ledger, moments: random.Random, fault: str
) -> None:
    """Training and evaluation end well; `sync` says what is wrong, and sends all of it later."""
    results = new_results()
    on_the_disk(results, disk)
    name = "disk full while SQLite writes" if fault == "full" else "tracking store read-only"
    with ledger.injecting(name, "the run ends well; sync sends it later"):
        disk.fill(moments.randint(0, 20_000)) if fault == "full" else disk.read_only(True)
        for command in (results.train(), results.evaluate()):
            assert command.code == 0, command.said
        said = results.sync()
        assert said.code == 1 and "MLflow store" in said.said and "Traceback" not in said.said, said.said
        disk.free() if fault == "full" else disk.read_only(False)
        results.go_on()
        check(results, undisturbed)


@full_only
def test_tracking_store_locked(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    """By a transaction that does not end, from some moment of the training on."""
    results = new_results()
    with ledger.injecting("tracking store locked", "the run ends well; sync sends it later"):
        command = results.train_until(moments.randint(1, ITERATIONS))
        other = sqlite3.connect(results.folder / "mlflow.db", isolation_level=None, timeout=60)
        other.execute("BEGIN EXCLUSIVE")
        assert command.wait() == 0, command.said
        other.execute("ROLLBACK")
        other.close()
        results.go_on()
        check(results, undisturbed)


def test_tracking_store_gone(new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random) -> None:
    for _ in range(times(2, 1)):
        results = new_results()
        with ledger.injecting("tracking store deleted while training", "made anew from the files"):
            command = results.train_until(moments.randint(1, ITERATIONS))
            (results.folder / "mlflow.db").unlink()
            assert command.wait() == 0, command.said
            results.go_on()
            check(results, undisturbed)


@full_only
def test_tracking_server_gone(new_results: New, undisturbed: Results, ledger: Ledger) -> None:
    results = new_results()
    with ledger.injecting("no tracking server where one is named", "the run ends well; sync sends it elsewhere"):
        results.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
        for command in (results.train(), results.evaluate()):
            assert command.code == 0, command.said
        results.environment["MLFLOW_TRACKING_URI"] = ""
        results.go_on()
        check(results, undisturbed)


# ---------------------------------------------------------------------------- data


@pytest.mark.parametrize("fault", ["deleted", "cut short", "exchanged"])
def test_image_changes_while_training(
    new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random, fault: str
) -> None:
    for _ in range(times(2, fault == "cut short")):
        results = new_results()
        with ledger.injecting(f"an image {fault} while training", "stops, names it; put back, it goes on"):
            slow = {"name": "slow_iterations", "seconds": 0.1}
            command = results.train_until(moments.randint(1, 4), faults=(slow,))
            image = moments.choice(sorted((results.folder / "micro" / "data" / "synthetic" / "train").iterdir()))
            content = image.read_bytes()
            if fault == "deleted":
                image.unlink()
            elif fault == "cut short":
                image.write_bytes(content[: moments.randrange(1, len(content) - 1)])
            else:
                Image.new("RGB", (40, 60)).save(image)
            assert command.wait() in (0, 2), command.said
            if command.code:
                failed_readably(command.said, image.name, "put it back")
            image.write_bytes(content)
            results.go_on()
            check(results, undisturbed)


@full_only
def test_annotations_change_between_two_steps(
    new_results: New, undisturbed: Results, ledger: Ledger, moments: random.Random
) -> None:
    """The split's file under a training that goes on, val's under an evaluation."""
    results = new_results()
    data = results.folder / "micro" / "data"
    with ledger.injecting("annotations changed while training, before evaluation", "refused until put back", 2):
        command = results.train_until(4)
        command.signal(signal.SIGKILL)
        command.wait()
        for file, start in ((data / "nonvoc2voc" / "instances_train.json", results.train),
                            (data / "synthetic" / "annotations" / "instances_val.json", results.evaluate)):  # fmt: skip
            content = file.read_text()
            file.write_text(content.replace('"area":', '"area": 1'))
            refused = start()
            assert refused.code == 2, refused.said
            failed_readably(refused.said, file.name, "changed since")
            file.write_text(content)
            assert start().code == 0
        results.go_on()
        check(results, undisturbed)
