"""Run lock and signals, with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contrastmask.runtime.locks import Interrupted, RunLock, on_signals

ROOT = Path(__file__).parents[2]


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """Run Python code in a process of its own, and wait until it says so on its standard output."""
    command = [sys.executable, "-c", code, *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


HOLD = """
import sys, time
from contrastmask.runtime.locks import RunLock
lock = RunLock(sys.argv[1]); lock.acquire()
print("ready", flush=True); time.sleep(60)
"""


def test_the_lock_is_exclusive_and_comes_back(tmp_path: Path) -> None:
    ours, other = RunLock(tmp_path / "work" / "run.lock"), RunLock(tmp_path / "work" / "run.lock")
    assert ours.acquire() and ours.acquire()
    assert ours.exclusive and not other.exclusive and not other.acquire(wait=False)
    assert other.holder().startswith(f"pid {os.getpid()} on ")
    ours.release()
    assert other.acquire(wait=False)
    other.release()


def test_a_killed_process_leaves_the_lock_free(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    process = start(HOLD, lock.path)
    assert not lock.acquire(wait=False)
    process.kill()
    process.wait()
    assert lock.acquire(wait=False)
    lock.release()


def test_waiting_names_the_holder(tmp_path: Path) -> None:
    process = start(HOLD, tmp_path / "run.lock")
    said: list[str] = []

    def hear(message: str) -> None:
        said.append(message)
        process.kill()

    lock = RunLock(tmp_path / "run.lock")
    assert lock.acquire(say=hear)
    assert len(said) == 1 and f"pid {process.pid} on " in said[0]
    lock.release()
    process.wait()


def test_a_worker_that_outlives_its_trainer_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = HOLD.replace('print("ready"', 'import os; child = os.fork() == 0\nchild or print("ready"')
    process = start(code, tmp_path / "run.lock")
    time.sleep(0.3)
    process.kill()
    process.wait()
    lock = RunLock(tmp_path / "run.lock")
    assert lock.acquire(wait=False)
    lock.release()


def test_a_trainer_that_outlives_its_parent_keeps_the_lock(tmp_path: Path) -> None:
    parent = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', sys.argv[2], sys.argv[1]])"
    process = start(parent, tmp_path / "run.lock", HOLD)
    process.kill()
    process.wait()
    lock = RunLock(tmp_path / "run.lock")
    assert not lock.acquire(wait=False)
    os.kill(int(lock.holder().split()[1]), signal.SIGKILL)
    assert lock.acquire() and lock.exclusive
    lock.release()


def test_without_flock_it_says_so_and_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    with RunLock(tmp_path / "run.lock") as lock:
        assert not lock.exclusive
    assert "no locks (flock)" in capsys.readouterr().err


POLL = """
import time
from contrastmask.runtime.locks import Interrupted, on_signals
with on_signals() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("saved", flush=True)
    raise Interrupted(stop.signum)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_a_request(signum: int, code: int) -> None:
    process = start(POLL)
    process.send_signal(signum)
    assert process.communicate(timeout=20)[0] == "saved\n"
    assert process.returncode == code


def test_a_patient_process_takes_further_signals_for_the_first() -> None:
    with on_signals(patient=True) as stop:
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        assert stop.signum == signal.SIGTERM


def test_a_second_signal_does_not_wait() -> None:
    with pytest.raises(Interrupted) as caught, on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested and stop.signum == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert caught.value.code == 143


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with on_signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
