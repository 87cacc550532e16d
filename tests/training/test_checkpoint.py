"""Checkpoints under kills, full disks, flipped bits; and what they can hold."""

import collections
import errno
import logging
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contrastmask.training import checkpoint
from contrastmask.training.checkpoint import CheckpointError, latest, load_weights, plain, save, save_weights, sha256


def _state(iteration: int, identity: str = "me") -> dict:
    return {"identity": identity, "iteration": iteration, "weights": {"w": torch.full((50,), float(iteration))}}


def _names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def _in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process (torch is imported there already); returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


# ---------------------------------------------------------------- the ordinary way


def test_round_trip_and_pruning(tmp_path):
    assert latest(tmp_path / "absent", identity="me") is None
    for iteration in (5, 10, 100, 20):  # 20 after 100: newer files are not "older ones"
        assert save(tmp_path, _state(iteration), iteration) == tmp_path / f"iter_{iteration}.pth"
    assert _names(tmp_path) == {"iter_10.pth", "iter_20.pth", "iter_100.pth"}
    iteration, state = latest(tmp_path, identity="me")
    assert iteration == state["iteration"] == 100
    assert torch.equal(state["weights"]["w"], torch.full((50,), 100.0))


def test_a_checkpoint_opens_with_torch_alone(tmp_path):
    path = save(tmp_path, _state(1), 1)
    assert torch.load(path, weights_only=True)["iteration"] == 1


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"state\['hooks'\]\[1\] is a function"):
        save(tmp_path, {"identity": "me", "hooks": [1, lambda: 0]}, 1)
    assert _names(tmp_path) == set()


# ---------------------------------------------------------------- damage


@pytest.fixture
def two(tmp_path) -> tuple[Path, bytes]:
    """A folder with checkpoints 1 and 2, and the bytes of the second."""
    save(tmp_path, _state(1), 1)
    return tmp_path, save(tmp_path, _state(2), 2).read_bytes()


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _flip(content: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(content))
    return content[:position] + bytes([content[position] ^ 1 << rng.randrange(8)]) + content[position + 1 :]


@pytest.mark.parametrize("damage", [_truncate, _flip])
def test_damage_falls_back_to_the_one_before(two, damage):
    folder, content = two
    rng = random.Random(0)
    for _ in range(200):
        damaged = damage(content, rng)
        (folder / "iter_2.pth").write_bytes(damaged)
        assert latest(folder, identity="me")[0] == 1
        assert (folder / "iter_2.pth.corrupt").read_bytes() == damaged
        (folder / "iter_2.pth.corrupt").unlink()


def test_every_truncation_of_the_trailer_an_empty_file_and_appended_bytes(two):
    folder, content = two
    ends = (0, 1, 39, 40, 41, *range(len(content) - 41, len(content)))
    for damaged in (content + b"x", *(content[:length] for length in ends)):
        (folder / "iter_2.pth").write_bytes(damaged)
        assert latest(folder, identity="me")[0] == 1
    assert "iter_2.pth.corrupt.3" in _names(folder)  # none replaced another


def test_all_damaged_is_none_and_says_why(two, caplog):
    folder, _ = two
    for name in ("iter_1.pth", "iter_2.pth"):
        (folder / name).write_bytes(b"not a checkpoint")
    with caplog.at_level(logging.WARNING):
        assert latest(folder, identity="me") is None
    assert "iter_2.pth is not used: it is cut short" in caplog.text
    assert _names(folder) == {"iter_1.pth.corrupt", "iter_2.pth.corrupt"}


def test_foreign_checkpoints_are_set_aside_and_do_not_push_out_ours(tmp_path, caplog):
    save(tmp_path, _state(3), 3)
    save(tmp_path, _state(900, "other"), 900)
    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path, identity="me")[0] == 3
    assert "belongs to 'other', this run is 'me'" in caplog.text
    save(tmp_path, _state(4), 4)
    save(tmp_path, _state(5), 5)
    assert _names(tmp_path) == {"iter_4.pth", "iter_5.pth", "iter_900.pth.foreign"}


def test_intact_but_unreadable_is_an_error_not_a_fresh_start(two, monkeypatch):
    folder, _ = two

    def out_of_memory(*args, **kwargs):
        raise RuntimeError("cannot allocate memory")

    monkeypatch.setattr(torch, "load", out_of_memory)
    with pytest.raises(CheckpointError, match=r"iter_2\.pth: cannot allocate memory"):
        latest(folder, identity="me")
    assert _names(folder) == {"iter_1.pth", "iter_2.pth"}


# ---------------------------------------------------------------- kills


def test_kill_during_save(tmp_path):
    """20 kills at random moments: what had been saved when the kill came is always there."""
    rng = random.Random(1)
    done = 0
    for _ in range(20):
        read, write = os.pipe()

        def work(first: int = done + 1, report: int = write) -> None:
            for iteration in range(first, first + 100_000):
                save(tmp_path, _state(iteration), iteration)
                os.write(report, f"{iteration}\n".encode())

        pid = _in_child(work)
        os.close(write)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        with os.fdopen(read) as pipe:
            reported = [int(line) for line in pipe.read().split()]
        done = reported[-1] if reported else done
        found = latest(tmp_path, identity="me")
        if done:
            iteration, state = found
            assert iteration == state["iteration"] and done <= iteration <= done + 1
            assert float(state["weights"]["w"][0]) == iteration
            done = iteration
    assert done > 5  # or every kill came before a save, and nothing was tested
    assert not [name for name in _names(tmp_path) if "corrupt" in name]
    save(tmp_path, _state(done + 1), done + 1)
    assert _names(tmp_path) == {f"iter_{done}.pth", f"iter_{done + 1}.pth"}  # no temporary file is left


# ---------------------------------------------------------------- a full disk


def test_full_disk_leaves_the_others(two):
    """The kernel refuses the write half-way, inside torch.save."""
    folder, _ = two
    state = {**_state(3), "big": torch.zeros(100_000)}  # made here: a forked child has no thread pool

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(CheckpointError, match=r"iter_3.pth: File too large.*free some space"):
            save(folder, state, 3)

    assert os.waitpid(_in_child(work), 0)[1] == 0
    assert _names(folder) == {"iter_1.pth", "iter_2.pth"}
    assert latest(folder, identity="me")[0] == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_no_space_reported_late(two, monkeypatch, call):
    folder, _ = two

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, call, full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*intact; free some space"):
        save(folder, _state(3), 3)
    monkeypatch.undo()
    assert _names(folder) == {"iter_1.pth", "iter_2.pth"}
    assert latest(folder, identity="me")[0] == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "work").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="can be written to"):
        save(tmp_path / "work", _state(1), 1)


# ---------------------------------------------------------------- final weights


def test_weights(tmp_path):
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    path = tmp_path / "model.pth"
    save_weights(path, layer.state_dict(), {"iteration": np.int64(7), "lr": np.float64(0.1)})
    weights, meta = load_weights(path)
    assert meta == {"iteration": 7, "lr": 0.1}
    assert list(weights) == list(layer.state_dict())
    layer.load_state_dict(weights)
    assert torch.load(path, weights_only=True)["meta"] == meta
    before = sha256(path)
    save_weights(path, layer.state_dict(), {"iteration": 7, "lr": 0.1})
    assert sha256(path) == before and len(before) == 64  # the same weights are the same file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.pth: it is cut short"):
        load_weights(path)


# ---------------------------------------------------------------- plain data


def test_plain():
    value = {
        "counter": collections.Counter({8: 1}),
        "nested": collections.defaultdict(list, a=[np.float32(0.5), (np.bool_(True), None)]),
        np.int64(3): np.arange(2),
        "parameter": torch.nn.Parameter(torch.ones(1)),
    }
    made = plain(value)
    assert made == {
        "counter": {8: 1}, "nested": {"a": [0.5, (True, None)]}, 3: [0, 1], "parameter": torch.ones(1)
    }  # fmt: skip
    assert type(made["counter"]) is dict and type(made["parameter"]) is torch.Tensor
    with pytest.raises(TypeError, match=r"state\['x'\] is a set"):
        plain({"x": {1}})
