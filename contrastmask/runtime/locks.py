"""Who may work on a run, and how a run is asked to stop.

`RunLock` is a lock of the kernel on an open file (flock): it goes when its process goes, however that happens,
so a SIGKILL leaves nothing to clean up. `on_signals` turns SIGTERM and Ctrl-C into a flag that a loop polls.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

POLL_S = 0.5
MESSAGE_S = 30.0
PROBE_S = 0.2  # a `held()` elsewhere may own the lock for an instant: outlast it before calling it busy


class Interrupted(SystemExit):
    """The run was asked to stop. The process exits with 128 + signal number, as a shell expects."""

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class RunLock:
    """Exclusive lock on `path`, for as long as this process lives or until `release`.

    The file says who holds it and is never deleted: deleting would let two processes lock two files.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._fd: int | None = None
        _live.add(self)

    def acquire(self, wait: bool = True, say: Callable[[str], None] = print) -> bool:
        """Take the lock. Busy: return False, or with `wait` go on trying and `say` why every 30 s.

        Raises OSError if the file cannot be created.
        """
        if self._fd is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            got = _take(fd, wait, lambda: say(f"waiting for {self.path}: {self.holder()} works on this run"))
        except BaseException:
            os.close(fd)
            raise
        if not got:
            os.close(fd)
            return False
        self._fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not ours."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._forget()

    def held(self) -> bool:
        """Whether any process, this one included, holds the lock."""
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _try(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def holder(self) -> str:
        """`pid N on HOST` of the last process that took the lock."""
        try:
            return self.path.read_text().strip() or "another process"
        except OSError:
            return "another process"

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()

    def _forget(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False


def _take(fd: int, wait: bool, say: Callable[[], None]) -> bool:
    """Poll, not block: a blocked flock would hold back the signal handlers."""
    start = time.monotonic()
    next_message = start + PROBE_S
    while not _try(fd, fcntl.LOCK_EX):
        now = time.monotonic()
        if now >= start + PROBE_S and not wait:
            return False
        if now >= next_message:
            say()
            next_message = now + MESSAGE_S
        time.sleep(PROBE_S / 4 if now < start + PROBE_S else POLL_S)
    return True


# A forked data-loader worker inherits the open file and would keep the lock after its trainer was killed.
_live: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _drop_inherited() -> None:
    for lock in list(_live):
        lock._forget()


os.register_at_fork(after_in_child=_drop_inherited)


@dataclass
class Stop:
    """`signum` of the signal that asked to stop; 0 while none did."""

    signum: int = 0

    @property
    def requested(self) -> bool:
        return self.signum != 0


@contextmanager
def on_signals(patient: bool = False) -> Iterator[Stop]:
    """Within: the first SIGTERM or SIGINT sets `stop.requested`; a loop then saves and raises `Interrupted`.

    The second raises `Interrupted` on the spot, the third kills the process. Main thread only.

    `patient`: for a process that torchrun started. A terminal or Slurm signals all processes of a job, and torchrun
    then hands its own signal on: the second is the first once more, and further ones change nothing.
    """
    stop = Stop()
    signals = (signal.SIGTERM, signal.SIGINT)

    def handle(signum: int, _frame: FrameType | None) -> None:
        if stop.requested and patient:
            return
        if stop.requested:
            for each in signals:
                signal.signal(each, signal.SIG_DFL)
            raise Interrupted(signum)
        stop.signum = signum

    before = {each: signal.signal(each, handle) for each in signals}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
