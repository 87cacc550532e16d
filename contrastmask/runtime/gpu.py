"""Which GPUs a run may use: a lease held by the process that uses them.

The scheduler counts GPUs but does not say which, and a trainer can outlive it. So the trainer itself takes one lock
per GPU (locks.py) and holds it while it lives: the kernel gives it back at any end, SIGKILL included, and a trainer
that was orphaned keeps its GPU until it is gone.

The locks lie in a folder of the user under the temporary directory: processes with different ``TMPDIR`` and
different users do not see each other's leases. A lock belongs to the device, by its UUID where the driver tells
it, so that two jobs which both call their only GPU "0" do not wait for each other.
"""

import contextlib
import logging
import os
import random
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml

from contrastmask.errors import GpuError
from contrastmask.runtime.locks import RunLock

log = logging.getLogger(__name__)

_RETRY_SECONDS = (0.2, 1.0)  # a random pause: two processes that block each other do not retry in step
_MESSAGE_SECONDS = 30.0


@contextlib.contextmanager
def lease(n: int) -> Iterator[list[str]]:
    """Hold ``n`` GPUs that no other run of this user holds, waiting for them if need be.

    Yields their names for CUDA_VISIBLE_DEVICES (indices, UUIDs or MIG ids, as they are visible to this process);
    set it before CUDA starts. Yields [] where n is 0 or the machine has no GPU: the run is then on the CPU.

    All or none are taken, so runs that want several cannot block each other half-way. The lease is given back
    when the block ends, or the process does. Raises GpuError where more are asked for than are visible.
    """
    visible = visible_gpus()
    if n < 0:
        raise GpuError(f"gpus_per_run is {n}: it must be 0 or more")
    if n == 0 or not visible:
        yield []
        return
    if n > len(visible):
        raise GpuError(
            f"gpus_per_run is {n}, but this process sees {len(visible)} GPU(s) ({', '.join(visible)}): "
            f"set gpus_per_run to {len(visible)} or less, or show it more by CUDA_VISIBLE_DEVICES"
        )
    held = _wait(n, {gpu: _folder() / f"{_identity(gpu)}.lock" for gpu in visible})
    try:
        yield list(held)
    finally:
        _release(held)


def visible_gpus() -> list[str]:
    """The GPUs that CUDA would show this process, found without starting CUDA."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(i) for i in range(_driver_count())]
    names: dict[str, None] = {}  # in order, each once
    for name in (entry.strip() for entry in listed.split(",")):
        if not name or name.startswith("-") or name == "NoDevFiles":
            break  # CUDA, too, ignores everything from the first invalid entry on
        names[name] = None
    return list(names)


# ------------------------------------------------------------------------------------------------- the driver


def _driver_count() -> int:
    """GPUs that the NVIDIA driver reports; 0 where there is none."""
    try:
        with _driver():
            return pynvml.nvmlDeviceGetCount()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return 0
    except pynvml.NVMLError as error:
        log.warning("no GPU is used: the NVIDIA driver says '%s'; CUDA_VISIBLE_DEVICES can name them", error)
        return 0


def gpu_names() -> str:
    """All that the driver reports: `2 x NVIDIA H100, ...`, or `none`."""
    try:
        with _driver():
            handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            names = [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return "none"
    except pynvml.NVMLError:
        return "unknown"
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"


def _identity(gpu: str) -> str:
    """A name of the device itself: an index is only a name within this process."""
    if not gpu.isdigit():
        return gpu.replace("/", "_")  # MIG-GPU-<uuid>/<gi>/<ci>, as older drivers write it
    try:
        with _driver():
            uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(gpu)))
    except pynvml.NVMLError:
        return gpu
    return uuid.decode() if isinstance(uuid, bytes) else uuid


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


# ------------------------------------------------------------------------------------------------- the locks


def _folder() -> Path:
    """The user's own folder of lock files; GpuError if someone else's thing stands in its place."""
    folder = Path(tempfile.gettempdir()) / f"contrastmask-gpus-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise GpuError(f"{folder} is not a folder of yours: remove it, or set TMPDIR to another place")
    return folder


def _wait(n: int, locks: dict[str, Path]) -> dict[str, RunLock]:
    """Lock n of the files, trying until that succeeds: {gpu: its lock}."""
    next_message = time.monotonic()
    while True:
        held, holders = _try(n, locks)
        if len(held) == n:
            return held
        _release(held)
        if time.monotonic() >= next_message:
            others = ", ".join(f"{gpu} ({holder})" for gpu, holder in holders.items())
            log.warning("waiting for %d of %d GPU(s); in use: %s", n, len(locks), others)
            next_message = time.monotonic() + _MESSAGE_SECONDS
        time.sleep(random.uniform(*_RETRY_SECONDS))


def _try(n: int, locks: dict[str, Path]) -> tuple[dict[str, RunLock], dict[str, str]]:
    """Lock up to n of the files without waiting: what was locked, and who holds the others that were tried."""
    held: dict[str, RunLock] = {}
    holders: dict[str, str] = {}
    for gpu, path in locks.items():
        if len(held) == n:
            break
        lock = RunLock(path)
        if lock.acquire(wait=False):
            held[gpu] = lock
        else:
            holders[gpu] = lock.holder()
    return held, holders


def _release(held: dict[str, RunLock]) -> None:
    for lock in held.values():
        lock.release()
