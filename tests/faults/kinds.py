"""The kinds of faults. A function breaks something in a case; what must hold after it is one check (check.py)."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults.harness import EVERY, ITERATIONS, Chain, Results
from PIL import Image
from waiting import until

MIB = 2**20
LOSSES = ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask", "loss_contrast")
SLOW = {"name": "slow_iterations", "seconds": 0.1}


class Disk:
    """A small disk of memory that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filler = folder, folder / "filler"

    def __enter__(self) -> "Disk":
        if os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("mounting a small disk needs root")
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=64m", "faults", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self, left: int) -> None:
        """Leave `left` bytes."""
        free = os.statvfs(self.folder)
        with self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - left, 1))

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)

    def read_only(self, yes: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder)], check=True)


@dataclass
class Case:
    """What one fault is injected into."""

    results: Any  # Results, or a Chain where the kind asks for one
    moments: random.Random
    folder: Path
    """Of this case alone."""
    small_disk: Disk | None

    @property
    def disk(self) -> Disk:
        assert self.small_disk is not None
        return self.small_disk

    def iteration(self, last: int = ITERATIONS) -> int:
        return self.moments.randint(1, last)

    def move_to_disk(self) -> None:
        """The results onto the small disk; what the commands say must have room elsewhere."""
        results = self.results
        self.results = results.copy(self.disk.folder / "results", self.folder / "full.log")
        shutil.rmtree(results.folder)


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how it is survived, how often it is injected by `make faults` and `make test-all`."""

    name: str
    how: str
    full: int
    short: int
    on: str
    """`results`, `disk` (with a small disk) or `chain` (Snakemake)."""
    inject: Callable[[Case], int | None]
    """Returns how many faults it injected; None is one."""


KINDS: list[Kind] = []


def kind(name: str, how: str, full: int, short: int = 0, on: str = "results") -> Callable[[Any], Any]:
    """Decorates a function of a Case that injects one fault, or returns how many."""

    def register(inject: Callable[[Case], int | None]) -> Any:
        KINDS.append(Kind(name, how, full, short, on, inject))
        return inject

    return register


# ---------------------------------------------------------------------------- the trainer's end


@kind("SIGKILL of the trainer", "goes on from the last checkpoint", 40, 2)
def sigkill(case: Case) -> int:
    """Of training or evaluation, one after the other until the run is through."""
    results, kills = case.results, 0
    while not results.done("metrics.json"):
        command = results.begin("evaluate" if results.done("train.json") else "train", results.run)
        time.sleep(case.moments.uniform(0, 6 + kills))  # longer each time: on a busy machine 6 s reach no checkpoint
        kills += command.kill()
        assert command.wait() in (0, -signal.SIGKILL), command.said
    return kills


@kind("SIGTERM, SIGKILL up to 2 s later", "a checkpoint where the grace was enough", 5, 1)
def sigterm(case: Case) -> None:
    command = case.results.train_until(case.iteration(ITERATIONS - 1))
    command.kill(signal.SIGTERM)
    time.sleep(case.moments.uniform(0, 2))
    command.kill()
    assert command.wait() in (0, 143, -9), command.said


def spoil(path: Path, damage: str, moments: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = moments.randrange(len(content))
    if damage == "truncated":
        del content[place:]
    else:
        content[place] ^= 1 << moments.randrange(8)
    path.write_bytes(content)


def damaged_checkpoint(damage: str, case: Case) -> None:
    """The newest, or all of them, after a kill."""
    case.results.train_until(2 * EVERY + 1).end()
    found = case.results.checkpoints()
    assert found
    for path in found if case.moments.random() < 0.3 else found[-1:]:
        spoil(path, damage, case.moments)
    case.results.well("train", case.results.run)
    assert list(case.results.run.glob("work/*.corrupt"))


for damage in ("truncated", "a bit flipped"):
    kind(f"checkpoint {damage}", "set aside; the one before, or the start", 4, 1)(partial(damaged_checkpoint, damage))


@kind("model.pth damaged", "refused by the evaluation; training gives it again", 4, 1)
def damaged_weights(case: Case) -> None:
    results = case.results
    results.well("train", results.run)
    spoil(results.run / "model.pth", case.moments.choice(("truncated", "a bit flipped")), case.moments)
    results.do("evaluate", results.run).failed("model.pth", "delete it")
    (results.run / "model.pth").unlink()
    results.well("train", results.run)


# ---------------------------------------------------------------------------- the training itself


def not_finite(case: Case, iteration: int, fault: dict[str, Any], *said: str) -> None:
    case.results.begin_training(fault).failed("not finite", f"iteration {iteration}", *said)
    assert all(int(path.stem[5:]) < iteration for path in case.results.checkpoints())


def nan_in_a_loss(loss: str, case: Case) -> None:
    """In the iteration of a checkpoint, or in any."""
    iteration = case.moments.choice((EVERY, case.iteration()))
    not_finite(case, iteration, {"name": "nan_loss", "loss": loss, "iteration": iteration}, loss)


for loss in LOSSES:
    short = int(loss == "loss_contrast")
    kind(f"NaN in {loss}", "stops, named; every checkpoint is from before", 2, short)(partial(nan_in_a_loss, loss))


@kind("NaN in the weights after a finite loss", "not saved; stops, named", 2, 1)
def nan_in_the_weights(case: Case) -> None:
    """In the very iteration that a checkpoint is saved."""
    iteration = case.moments.randrange(EVERY, ITERATIONS + 1, EVERY)
    not_finite(case, iteration, {"name": "nan_weights", "iteration": iteration})


@kind("out of memory in a training step", "stops, says what to change; goes on", 3, 1)
def out_of_memory(case: Case) -> None:
    fault = {"name": "out_of_memory", "iteration": case.iteration()}
    case.results.begin_training(fault).failed("out of memory", "images_per_gpu")


@kind("clock set back while training", "nothing depends on it", 2, 1)
def clock_set_back(case: Case) -> None:
    after, hours = case.moments.uniform(0, 3), case.moments.uniform(0.1, 50)
    case.results.well("train", case.results.run, faults=({"name": "clock_back", "after_s": after, "hours": hours},))


@kind("two trainers of one run", "the second waits and takes the result", 2)
def two_trainers(case: Case) -> None:
    first, second = case.results.begin_training(), case.results.begin_training()
    assert (first.wait(), second.wait()) == (0, 0)
    assert "is trained already" in first.said + second.said


@kind("a worker of the data loader killed", "stops, says so; goes on", 3)
def loader_worker_killed(case: Case) -> None:
    """config.json says how many there are."""
    file = case.results.run / "config.json"
    content = file.read_text()
    file.write_text(json.dumps(json.loads(content) | {"workers": 2}))
    command = case.results.train_until(case.iteration(ITERATIONS // 2), SLOW)
    case.moments.choice(psutil.Process(command.pid).children()).kill()
    command.failed("data loader")
    file.write_text(content)


# ---------------------------------------------------------------------------- disks, data and the tracking store


def disk_full(before: tuple[str, ...], most: int, case: Case) -> None:
    """The next command after these has at most so many bytes, or none, and says what is full if they do not do."""
    results = case.results
    for verb in before:
        results.well(verb, results.run)
    case.move_to_disk()
    results = case.results
    if not before:  # the disk fills up while the training is at work
        command = results.train_until(case.iteration(ITERATIONS - 3))
        case.disk.fill(case.moments.randint(0, most))
    else:
        case.disk.fill(case.moments.choice((0, case.moments.randint(0, most))))
        command = results.begin(*(("evaluate", results.run) if before == ("train",) else results.tables()))
    if command.wait() != 0:
        command.failed("No space left")
    case.disk.free()


for name, how, before, most in (
    ("during a checkpoint", "stops, says so; earlier checkpoints are whole", (), 4 * MIB),
    ("while metrics are written", "stops, says so; nothing half-written", ("train",), 60_000),
    ("while tables are written", "stops, says so; no half table", ("train", "evaluate"), 12_000),
):
    kind(f"disk full {name}", how, 3, 1, on="disk")(partial(disk_full, before, most))


def store_in_trouble(begin: Callable[[Case], None], end: Callable[[Case], None], case: Case) -> None:
    """MLflow's file on the small disk. Training and evaluation end well; `sync` says what is wrong, then sends it."""
    store = case.results.folder / "mlflow.db"
    shutil.move(store, case.disk.folder / "mlflow.db")
    store.symlink_to(case.disk.folder / "mlflow.db")
    begin(case)
    case.results.measure()
    said = case.results.do("sync", "--results", case.results.folder)
    assert said.code == 1 and "tracking: " in said.said and "Traceback" not in said.said, said.said
    end(case)


for name, begin, end in (
    ("disk full while SQLite writes", lambda c: c.disk.fill(c.moments.randint(0, 20_000)), lambda c: c.disk.free()),
    ("tracking store read-only", lambda c: c.disk.read_only(True), lambda c: c.disk.read_only(False)),
):
    how = "the run ends well; sync sends it later"
    kind(name, how, 1, on="disk")(partial(store_in_trouble, begin, end))


@kind("tracking store locked", "the run ends well; sync sends it later", 1)
def store_locked(case: Case) -> None:
    """By a transaction that does not end, from some moment of the training on."""
    command = case.results.train_until(case.iteration())
    other = sqlite3.connect(case.results.folder / "mlflow.db", isolation_level=None, timeout=60)
    other.execute("BEGIN EXCLUSIVE")
    assert command.wait() == 0, command.said
    other.execute("ROLLBACK")
    other.close()


@kind("tracking store deleted while training", "made anew from the files", 2, 1)
def store_gone(case: Case) -> None:
    command = case.results.train_until(case.iteration())
    (case.results.folder / "mlflow.db").unlink()
    assert command.wait() == 0, command.said


@kind("no tracking server where one is named", "the run ends well; sync sends it elsewhere", 1)
def server_gone(case: Case) -> None:
    case.results.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    case.results.measure()
    case.results.environment["MLFLOW_TRACKING_URI"] = ""


def image_changed(fault: str, case: Case) -> None:
    command = case.results.train_until(case.iteration(4), SLOW)
    image = case.moments.choice(sorted((case.results.data / "synthetic" / "train").iterdir()))
    content = image.read_bytes()
    if fault == "deleted":
        image.unlink()
    elif fault == "cut short":
        image.write_bytes(content[: case.moments.randrange(1, len(content) - 1)])
    else:
        Image.new("RGB", (40, 60)).save(image)
    if command.wait():
        command.failed(image.name, "put it back", codes=(2,))
    image.write_bytes(content)


for fault in ("deleted", "cut short", "exchanged"):
    how = "stops, names it; put back, it goes on"
    kind(f"an image {fault} while training", how, 2, int(fault == "cut short"))(partial(image_changed, fault))


@kind("annotations changed while training, before evaluation", "refused until put back", 2)
def annotations_changed(case: Case) -> int:
    """The split's file under a training that goes on, val's under an evaluation."""
    case.results.train_until(4).end()
    split, val = "nonvoc2voc/instances_train.json", "synthetic/annotations/instances_val.json"
    for name, verb in ((split, "train"), (val, "evaluate")):
        file = case.results.data / name
        content = file.read_text()
        file.write_text(content.replace('"area":', '"area": 1'))
        case.results.do(verb, case.results.run).failed(file.name, "changed since", codes=(2,))
        file.write_text(content)
        case.results.well(verb, case.results.run)
    return 2


# ---------------------------------------------------------------------------- the whole chain, under Snakemake


def kill_in_the_chain(victim: str, case: Case) -> int:
    """At any time, or while a trainer is at work; nothing is injected where there was nothing to kill."""
    chain: Chain = case.results
    snakemake = chain.start()
    if victim == "the trainer under Snakemake" or case.moments.random() < 0.5:
        until(lambda: chain.trainers() or snakemake.poll() is not None)
    time.sleep(case.moments.uniform(0, 5))
    killed = 0
    if snakemake.poll() is None and victim != "the trainer under Snakemake":
        os.kill(snakemake.pid, signal.SIGKILL)
        killed = 1
    if victim != "Snakemake":
        trainers = chain.trainers()
        for process in trainers:
            process.kill()
        killed = killed or min(len(trainers), 1)
    snakemake.wait(900)
    return killed


for victim, full, short in (
    ("Snakemake", 3, 0),
    ("Snakemake and its jobs", 4, 1),
    ("the trainer under Snakemake", 3, 0),
):
    how = "the same command goes on; an orphan's result is taken"
    kind(f"SIGKILL of {victim}", how, full, short, on="chain")(partial(kill_in_the_chain, victim))


@kind("two snakemake at once in one folder", "the second is refused; nothing is made twice", 2, on="chain")
def two_snakemakes(case: Case) -> None:
    first = case.results.start()
    time.sleep(case.moments.choice((0.0, case.moments.uniform(0, 15))))
    second = case.results.start()
    assert sorted((first.wait(900), second.wait(900))) in ([0, 0], [0, 1]), case.results.said


@kind("SIGTERM to the whole chain, SIGKILL 1-3 s later", "checkpoint in time; goes on", 2, on="chain")
def sigterm_to_all(case: Case) -> None:
    """As a cluster or a shutdown does it."""
    snakemake = case.results.start()
    until(case.results.checkpoints)
    for number, wait in ((signal.SIGTERM, case.moments.uniform(1, 3)), (signal.SIGKILL, 0.0)):
        for process in case.results.processes():
            process.send_signal(number)
        time.sleep(wait)
    snakemake.wait(60)


@kind("a project moved to another root half-way", "goes on there; the old place stays empty", 2, on="chain")
def moved(case: Case) -> None:
    """Half-way, as a copy on another machine; and a finished one has nothing to do."""
    chain: Chain = case.results
    snakemake, old = chain.start(), chain.folder.parent
    until(chain.checkpoints)
    os.kill(snakemake.pid, signal.SIGKILL)
    for process in chain.trainers():
        process.kill()
    snakemake.wait(60)
    chain.wait_for_end()
    chain.move(case.folder / "elsewhere")
    chain.go_on()
    assert not old.exists()
    chain.go_on()
    assert "Nothing to be done" in chain.said


@kind("clock set back between two commands", "made again where times say so; same results", 1, on="chain")
def clock_between_commands(case: Case) -> None:
    """What is there is of the future: Snakemake goes by the times of files."""
    results: Results = case.results
    results.go_on()
    future = time.time() + 3600 * case.moments.uniform(1, 100)
    for path in results.data.rglob("*"):
        os.utime(path, (future, future))
    results.table.unlink()
