"""The processes of one training on several GPUs, or, where there is none, on the CPU.

The command itself is the first; it starts the others on this machine and ends with them. They meet by a file in the
run's folder and talk over the loopback: torchrun would open a port on every interface, to anybody. As rank 0 the first
holds the run's lock and the GPUs, and alone writes, records and decides when to stop; the others follow it at the same
iteration, and leave at once when it is gone. So a signal, a closed terminal and nohup mean what they do for one.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contrastmask.errors import Failed
from contrastmask.runtime.locks import Interrupted, Stop, on_signals

MEETING = "CONTRASTMASK_MEETING"  # the file by which the processes of a training find each other
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
GRACE_S = 20.0  # for the others to leave with the first, or for the first to notice that another ended


def place() -> tuple[int, int]:
    """Rank of this process, and how many there are."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def is_follower() -> bool:
    """Whether another process of the training started this one."""
    return MEETING in os.environ and place()[0] > 0


@contextmanager
def started(folder: Path, work: Path, count: int) -> Iterator[None]:
    """Within: this process is the first of `count` that train the run in `folder`.

    Raises:
        Failed: another one ended; its message stands above.
    """
    if count == 1:
        yield
        return
    for left in work.glob("meeting-*"):  # by who was killed here
        left.unlink()
    meeting = work / f"meeting-{os.getpid()}"
    os.environ |= LOOPBACK | {MEETING: str(meeting), "WORLD_SIZE": str(count), "RANK": "0", "LOCAL_RANK": "0"}
    others = [_start(folder, rank) for rank in range(1, count)]
    ended = threading.Event()
    threading.Thread(target=_watch, args=(others, ended), daemon=True).start()
    try:
        yield
    except Interrupted:
        _wait(others)  # they leave at the same iteration
        raise
    except Exception as error:
        if codes := [code for other in others if (code := other.poll())]:
            raise Failed(f"a process of this training ended with code {codes[0]}; it says above why") from error
        raise
    else:
        _wait(others)
    finally:
        ended.set()
        for other in others:
            other.kill()
            other.wait()
        meeting.unlink(missing_ok=True)
        for name in (MEETING, "WORLD_SIZE", "RANK", "LOCAL_RANK"):
            del os.environ[name]


def _start(folder: Path, rank: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "contrastmask", "train", str(folder)]
    numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return subprocess.Popen(command, env=os.environ | numbers, stdin=subprocess.PIPE)  # the pipe closes when we end


def _wait(others: list[subprocess.Popen]) -> None:
    end = time.monotonic() + GRACE_S
    while any(other.poll() is None for other in others) and time.monotonic() < end:
        time.sleep(0.1)


def _watch(others: list[subprocess.Popen], ended: threading.Event) -> None:
    """Thread: end this process when another failed and what waits for it, deep in NCCL, does not notice."""
    while not any(other.poll() for other in others):
        if ended.wait(0.5):
            return
    if not ended.wait(GRACE_S):
        print("Error: a process of this training ended; it says above why", file=sys.stderr, flush=True)
        os._exit(1)


@contextmanager
def following() -> Iterator[Stop]:
    """Within: a process that another one started. It leaves when the first says so, or is gone."""
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    with on_signals(patient=True) as stop:
        yield stop


def _end_with_the_first() -> None:
    os.read(0, 1)  # returns when the pipe closes; Python's own reader would hold a lock at our end
    os._exit(1)


def join() -> dict[str, Any]:
    """Start torch.distributed, on GPUs by NCCL and otherwise by gloo; returns the model wrapper's configuration."""
    import torch

    rank, count = place()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank)
    store = torch.distributed.FileStore(os.environ[MEETING], count)
    torch.distributed.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=count)
    devices = [rank] if cuda else None
    return {"type": "MMDistributedDataParallel", "device_ids": devices, "broadcast_buffers": False}
