"""GPU leases between processes, with made-up devices."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pynvml
import pytest

from contrastmask.errors import GpuError
from contrastmask.runtime import gpu
from contrastmask.runtime.gpu import lease, visible_gpus

REPO = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from contrastmask.runtime.gpu import lease
with lease(int(sys.argv[1])) as gpus:
    print(",".join(gpus), flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Two GPUs, an own folder of locks, no driver, quick retries; children inherit the first two."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpu.tempfile, "tempdir", None)  # forget the cached folder
    monkeypatch.setattr(gpu, "_RETRY_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(pynvml, "nvmlInit", _raise(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    yield tmp_path
    gpu.tempfile.tempdir = None


def _raise(code: int):
    def fail(*args):
        raise pynvml.NVMLError(code)

    return fail


def _holder(n: int, seconds: float = 600) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(n), str(seconds)], stdout=subprocess.PIPE, text=True, cwd=REPO
    )


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


# ---------------------------------------------------------------- what is visible


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1", ["0", "1"]),
        (" 3 , 1,3", ["3", "1"]),
        ("", []),
        ("-1", []),
        ("2,-1,0", ["2"]),
        ("GPU-8932f937-d72c,MIG-1c9a", ["GPU-8932f937-d72c", "MIG-1c9a"]),
    ],
)
def test_visible_by_environment(monkeypatch, value, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


def test_visible_by_driver(monkeypatch, caplog):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == [] and not caplog.text
    with lease(4) as gpus:
        assert gpus == []
    monkeypatch.setattr(pynvml, "nvmlInit", _raise(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH))
    assert visible_gpus() == [] and "CUDA_VISIBLE_DEVICES can name them" in caplog.text
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_the_lock_belongs_to_the_device_not_to_its_index(machine, monkeypatch):
    """Two jobs of a cluster that each see one GPU, both as "0", do not wait for each other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: "GPU-a")
    with lease(1):
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: "GPU-b")
        with lease(1) as second:
            assert second == ["0"]
    assert {p.name for p in machine.glob("contrastmask-gpus-*/*")} == {"GPU-a.lock", "GPU-b.lock"}


# ---------------------------------------------------------------- one process


def test_no_gpu_asked_for_and_none_there(monkeypatch):
    with lease(0) as gpus:
        assert gpus == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with lease(2) as gpus:
        assert gpus == []


def test_too_many_and_negative():
    with pytest.raises(GpuError, match=re.escape("gpus_per_run is 3, but this process sees 2 GPU(s) (0, 1)")), lease(3):
        pass
    with pytest.raises(GpuError, match="must be 0 or more"), lease(-1):
        pass


def test_leases_are_disjoint_and_come_back():
    with lease(1) as first, lease(1) as second:
        assert {*first, *second} == {"0", "1"}
    with pytest.raises(KeyError), lease(2) as both:
        assert both == ["0", "1"]
        raise KeyError
    with lease(2) as both:
        assert both == ["0", "1"]


def test_the_folder_is_private_and_must_be_ours(machine):
    with lease(1):
        (folder,) = machine.glob("contrastmask-gpus-*")
        assert folder.stat().st_mode & 0o777 == 0o700 and str(os.getuid()) in folder.name
        assert (folder / "0.lock").read_text().startswith(f"pid {os.getpid()} on ")
    (folder / "0.lock").unlink()
    folder.rmdir()
    folder.symlink_to(machine)
    with pytest.raises(GpuError, match="set TMPDIR"), lease(1):
        pass


def test_a_forked_worker_does_not_prolong_the_lease():
    with lease(2):
        pid = os.fork()
        if pid == 0:
            time.sleep(20)
            os._exit(0)
    try:
        started = time.monotonic()
        with lease(2) as again:
            assert again == ["0", "1"]
        assert time.monotonic() - started < 10  # not when the worker ended
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# ---------------------------------------------------------------- between processes


def test_waits_names_the_holder_and_gets_it_after_sigkill(monkeypatch, caplog):
    monkeypatch.setattr(gpu, "_MESSAGE_SECONDS", 0.2)
    holder = _holder(1)
    try:
        assert holder.stdout.readline().strip() == "0"
        with lease(1) as other:
            assert other == ["1"]
        timer = threading.Timer(0.6, holder.kill)
        timer.start()
        with caplog.at_level(logging.WARNING), lease(2) as both:
            assert both == ["0", "1"]
        timer.join()
    finally:
        _end(holder)
    message = f"waiting for 2 of 2 GPU(s); in use: 0 (pid {holder.pid} on "
    assert 2 <= caplog.text.count(message) <= 4


def test_two_of_three_each_does_not_deadlock(monkeypatch):
    """Six processes want 2 of 3: at most one can have them at a time, and all get their turn."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,GPU-c")
    processes = [_holder(2, 0.02) for _ in range(6)]
    try:
        for process in processes:
            out, _ = process.communicate(timeout=40)
            assert process.returncode == 0
            assert len(set(out.strip().split(","))) == 2
    finally:
        for process in processes:
            _end(process)


def test_never_two_on_one_gpu(machine):
    """Four processes count themselves into a file per GPU: exclusive creation would fail on a double lease."""
    script = """
import os, time
from contrastmask.runtime import gpu
gpu._RETRY_SECONDS = (0.001, 0.01)
for _ in range(25):
    with gpu.lease(1) as (name,):
        claim = os.path.join(os.environ["TMPDIR"], "claim-" + name)
        os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        time.sleep(0.001)
        os.unlink(claim)
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=REPO) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
