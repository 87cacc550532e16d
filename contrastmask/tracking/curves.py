"""The curves file of a run: what happened to it, one JSON object a line, appended and never rewritten.

It is the truth that MLflow only shows (sync.py). Each line holds its own checksum: readers skip what a power cut tore
or a disk damaged, and the next writer goes on after it. One writer at a time, the holder of the run's lock; any number
of readers.
"""

import json
import logging
import math
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contrastmask.runtime.locks import Interrupted, RunLock

NAME = "curves.jsonl"  # in the run's folder
LOCK_NAME = "run.lock"  # of the run, in work/ of its folder
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

Event = dict[str, Any]
Curve = list[tuple[int, float]]
"""(iteration, value), by rising iteration."""

log = logging.getLogger(__name__)


# ---------------------------------------------------------------------------- reading


def read_curves(folder: Path) -> dict[str, Curve]:
    """The training curves in a run's folder by the loss's name, with a step's last value; {} without a file."""
    points: dict[str, dict[int, float]] = {}
    for event, _ in read_events(Path(folder) / NAME):
        for name, value in event["values"].items() if event["event"] == "metrics" else ():
            if name.startswith("train/"):
                points.setdefault(name.removeprefix("train/"), {})[event["step"]] = float(value)
    return {name: sorted(curve.items()) for name, curve in points.items()}


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """(event, byte offset after it) of each sound line from `offset` on; nothing without a file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            if line.endswith(b"\n") and (event := _decode(line)):
                yield event, offset


def ends_line(path: Path, offset: int) -> bool:
    """Whether a line of the file ends at this byte offset (0 does)."""
    with path.open("rb") as file:
        file.seek(max(offset - 1, 0))
        return offset == 0 or file.read(1) == b"\n"


def _encode(event: Event) -> bytes:
    return json.dumps(event, allow_nan=False, separators=(",", ":")).encode()


def _decode(line: bytes) -> Event | None:
    """The event of a line, None for a damaged one."""
    try:
        event = json.loads(line)
        checksum = event.pop("crc")
        return event if checksum == zlib.crc32(_encode(event)) else None
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        return None


# ---------------------------------------------------------------------------- writing


class Curves:
    """The record of the run in `folder`, gone on with if there is one. Call it from one thread, holding the run's lock.

    It never fails who calls it: what a full or unwritable disk does not take is kept and written with the next line.

    Args:
        folder: of the run, results/<scale>/runs/<run>/seed<k>.
        title: the run's name in MLflow; by default <run>/seed<k>.
    """

    def __init__(self, folder: Path, title: str = "") -> None:
        self.path, self._title = Path(folder) / NAME, title
        self._unwritten, self._failing, self._open = b"", False, False
        self._points: dict[str, tuple[int, float]] = {}  # last (step, value) of each curve
        self._unfinished: set[str] = set()  # phases that began and did not finish
        self._resumes, self.status = 0, ""
        self.id = ""
        """Of the record, by which MLflow's run is found."""
        self.facts: dict[str, str] = {}
        """The tags."""
        for event, _ in read_events(self.path):
            self._take_in(event)

    def params(self, values: Mapping[str, object]) -> None:
        """Hyper-parameters, and what else the run was given and does not change."""
        self._append("params", values={key: str(value) for key, value in values.items()})

    def tags(self, values: Mapping[str, object]) -> None:
        """Facts that may change from session to session; the last value stays."""
        self._append("tags", values={key: str(value) for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int, *, final: bool = False) -> None:
        """Points of curves. A step not beyond the last one of its curve is dropped: a resumed run repeats some.

        `final`: results rather than points of a curve: a value that differs at the same step is written as well, and
        is then the one that MLflow shows.
        """
        fresh = {key: float(value) for key, value in values.items() if self._is_new(key, int(step), value, final)}
        if fresh:  # JSON has no nan and no infinity: they are spelled out
            spelled = {key: value if math.isfinite(value) else str(value) for key, value in fresh.items()}
            self._append("metrics", step=int(step), values=spelled)

    def _is_new(self, key: str, step: int, value: float, final: bool) -> bool:
        last_step, last_value = self._points.get(key, (-1, math.nan))
        return step > last_step or (final and step == last_step and value != last_value)

    def dataset(self, name: str, digest: str, source: str | Path, context: str) -> None:
        """A dataset that the run reads; `context` is `training` or `evaluation`."""
        self._append("dataset", name=name, digest=digest, source=str(source), context=context)

    def text(self, name: str, content: str) -> None:
        """A small text file, such as the resolved configuration, shown among the run's artifacts."""
        self._append("text", name=name, text=content)

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """A small table, shown among the run's artifacts; every row has the columns of the first."""
        columns = list(rows[0]) if rows else []
        self._append("table", name=name, columns=columns, data=[[row[column] for column in columns] for row in rows])

    @contextmanager
    def session(self, phase: str, iteration: int = 0) -> Iterator["Curves"]:
        """Keeps the status true while `phase` (train, evaluate) runs; `iteration`: where training goes on from.

        FINISHED at the end; KILLED by `Interrupted` or Ctrl-C; FAILED, with the error, by any other exception. A
        SIGKILL leaves RUNNING, which `end_if_killed` puts right.
        """
        resumes = self._resumes + (phase in self._unfinished or iteration > 0)
        self._append("session", phase=phase, iteration=int(iteration), resumes=resumes)
        try:
            yield self
        except BaseException as error:
            status = _status_of(error)
            reason = f"{type(error).__name__}: {error}" if status == FAILED else ""
            self._append("status", phase=phase, status=status, reason=reason)
            raise
        self._append("status", phase=phase, status=FINISHED, reason="")

    def _begin(self) -> None:
        """Before the first line of this process: end a torn line, and give a new run its name."""
        self._open = True
        if self.path.exists() and not ends_line(self.path, self.path.stat().st_size):
            self._write(b"\n")
        if not self.id:
            self._append("run", id=uuid.uuid4().hex, title=self._title or "/".join(self.path.parent.parts[-2:]))

    def _append(self, kind: str, **content: object) -> None:
        if not self._open:
            self._begin()
        event = {"event": kind, "time": time.time_ns() // 1_000_000, **content}
        self._take_in(event)
        self._write(_encode(event | {"crc": zlib.crc32(_encode(event))}) + b"\n")

    def _write(self, line: bytes) -> None:
        self._unwritten += line
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                while self._unwritten:  # a nearly full disk takes part of it: keep exactly the rest
                    self._unwritten = self._unwritten[os.write(fd, self._unwritten) :]
            finally:
                os.close(fd)
        except OSError as error:
            if not self._failing:
                log.warning("tracking: cannot write %s: %s; will go on trying", self.path, error)
            self._failing = True
        else:
            self._failing = False

    def _take_in(self, event: Event) -> None:
        match event["event"]:
            case "run":
                self.id = event["id"]
            case "tags":
                self.facts |= event["values"]
            case "session":
                self._unfinished.add(event["phase"])
                self._resumes, self.status = event["resumes"], RUNNING
            case "status":
                self.status = event["status"]
                if self.status == FINISHED:
                    self._unfinished.discard(event["phase"])
            case "metrics":
                self._points |= {key: (event["step"], float(value)) for key, value in event["values"].items()}


def set_aside(folder: Path, facts: Mapping[str, str]) -> None:
    """Let a new record begin, in MLflow a new run, if the one in `folder` has other values of these tags.

    For a training from the start, under the run's lock: the steps of a record only rise, so points of two trainings
    would mix. The old record is kept in work/.
    """
    old = Curves(folder)
    if any(old.facts.get(key, value) != value for key, value in facts.items()):
        old.path.replace(old.path.parent / "work" / f"curves-{old.id}.jsonl")


def _status_of(error: BaseException) -> str:
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return KILLED
    if isinstance(error, SystemExit) and error.code in (130, 143):  # 128 + SIGINT, 128 + SIGTERM
        return KILLED
    return FINISHED if isinstance(error, SystemExit) and error.code in (None, 0) else FAILED


def end_if_killed(folder: Path) -> bool:
    """Write KILLED for a run that says RUNNING though no process holds its lock; whether it was so.

    Raises:
        OSError: the folder cannot be read or written.
    """
    lock = RunLock(Path(folder) / "work" / LOCK_NAME)
    if Curves(folder).status != RUNNING or not lock.acquire(wait=False):
        return False
    with lock:
        curves = Curves(folder)
        if curves.status == RUNNING:  # it may have ended between the look and the lock
            curves._append("status", phase="", status=KILLED, reason="the process was gone")
            return True
    return False
