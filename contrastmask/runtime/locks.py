"""Who may work on a run or a GPU, and how a run is asked to stop.

`RunLock` is filelock's, which on Unix is a lock of the kernel on an open file (flock): it goes when its process goes,
however that happens, so a SIGKILL leaves nothing to clean up; and a trainer that outlives the process that started it
keeps its lock. `on_signals` turns SIGTERM and Ctrl-C into a flag that a loop polls.
"""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

POLL_S = 0.5
MESSAGE_S = 30.0
PROBE_S = 0.2  # who only tries the lock may own it for an instant: outlast that before calling it busy
NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class Interrupted(SystemExit):
    """The run was asked to stop. The process exits with 128 + signal number, as a shell expects."""

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class RunLock:
    """Exclusive lock on `path`, for as long as this process lives or until `release`.

    The file says who holds it and is never deleted: deleting would let two processes lock two files. On a file system
    without flock nobody can hold it: `acquire` says so on standard error and succeeds, and `exclusive` stays False.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        # not filelock's own stand-in where there is no flock: its file would outlive a SIGKILL
        self._lock = FileLock(self.path, mode=0o644, thread_local=False, fallback_to_soft=False)

    @property
    def exclusive(self) -> bool:
        """Whether the kernel keeps others out."""
        return self._lock.is_locked

    def acquire(self, wait: bool = True, say: Callable[[str], None] = print) -> bool:
        """Take the lock. Busy: return False, or with `wait` go on trying and `say` why every 30 s.

        Raises OSError if the file cannot be created.
        """
        if self.exclusive:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            taken = self._try(PROBE_S)
            while wait and not taken:
                say(f"waiting for {self.path}: {self.holder()} works on this run")
                taken = self._try(MESSAGE_S)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            text = "its file system has no locks (flock), so nothing keeps a second process out: start only one"
            print(f"warning: {self.path}: {text}", file=sys.stderr)
            return True
        if taken:
            self.path.write_text(f"pid {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        return taken

    def _try(self, seconds: float) -> bool:
        try:
            self._lock.acquire(timeout=seconds, poll_interval=min(POLL_S, seconds / 4))
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not ours."""
        self._lock.release()

    def holder(self) -> str:
        """`pid N on HOST` of the last process that took the lock."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or "another process"
        except (OSError, UnicodeDecodeError):
            return "another process"

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


@dataclass
class Stop:
    """`signum` of the signal that asked to stop; 0 while none did."""

    signum: int = 0

    @property
    def requested(self) -> bool:
        return self.signum != 0


@contextmanager
def on_signals(patient: bool = False) -> Iterator[Stop]:
    """Within: the first SIGTERM, SIGINT or SIGHUP sets `stop.requested`; a loop then saves and raises `Interrupted`.

    SIGHUP is a closed terminal; under nohup it stays ignored.

    The second raises `Interrupted` on the spot, the third kills the process. Main thread only.

    `patient`: for a process that follows another one, which decides: a second signal changes nothing.
    """
    stop = Stop()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)

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
