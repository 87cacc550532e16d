"""The tracking spool: what happened to a run, one JSON object a line, appended and never rewritten.

It is the truth that MLflow only shows. A power cut can tear the last line: readers skip what is not a whole JSON
object, the next writer ends the torn line and goes on after it. One writer at a time (the holder of the run
lock), any number of readers.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]
NOT_FINITE = ("nan", "inf", "-inf")  # JSON has none of them
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

log = logging.getLogger(__name__)


class Spool:
    """The file at `path`; created by the first `append`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._unwritten = b""
        self._failing = False

    def append(self, event: Event) -> None:
        """Write one line. A full or unwritable disk costs a warning; the line is kept for the next append."""
        self._put(json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n")

    def heal(self) -> None:
        """End a torn last line. Only for who is about to write."""
        if self.path.exists() and not self.ends_line(self.path.stat().st_size):
            self._put(b"\n")

    def _put(self, line: bytes) -> None:
        self._unwritten += line
        try:
            self._write()
        except OSError as error:
            if not self._failing:
                log.warning("tracking: cannot write %s: %s; will go on trying", self.path, error)
            self._failing = True
        else:
            self._failing = False

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            while self._unwritten:  # a nearly full disk takes part of it: keep exactly the rest
                self._unwritten = self._unwritten[os.write(fd, self._unwritten) :]
        finally:
            os.close(fd)

    def ends_line(self, offset: int) -> bool:
        """Whether a line of the file ends at this byte offset (0 does)."""
        if offset == 0:
            return True
        with self.path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"

    def to_disk(self) -> None:
        """Force the file to the disk: what is shipped must not be lost by a power cut, or it would come twice."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def read(self, offset: int = 0) -> Iterator[tuple[Event | None, int]]:
        """(event, byte offset after it) of each whole line from `offset` on; None for a damaged line."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield _parse(line), offset

    def header(self) -> Event | None:
        """The line that names the run; None for an empty spool."""
        return next((event for event, _ in self.read() if event and event["event"] == "run"), None)

    def state(self) -> State:
        """What the whole file says so far."""
        state = State()
        for event, _ in self.read():
            if event is not None:
                state.apply(event)
        return state


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and _is_whole(event) else None


FIELDS: dict[str, dict[str, type]] = {
    "run": {"id": str, "experiment": str, "name": str},
    "session": {"phase": str, "iteration": int},
    "status": {"phase": str, "status": str},
    "params": {"values": dict},
    "tags": {"values": dict},
    "metrics": {"step": int, "values": dict},
    "input": {"name": str, "digest": str, "source": str, "context": str},
    "text": {"name": str, "text": str},
}
NAME = re.compile(r"[/\w.\- ]{1,250}")  # of a value, as MLflow takes it
LARGEST = 2**63 - 1  # a step or a time, in MLflow


def _is_whole(event: Event) -> bool:
    """Whether a line has the fields of its kind: one that was damaged and still is JSON counts as damaged."""
    fields = FIELDS.get(str(event.get("event")))
    if fields is None or not all(type(event.get(name)) is kind for name, kind in fields.items()):
        return False
    numbers = [event.get("time"), *(event[name] for name, kind in fields.items() if kind is int)]
    values, names = event.get("values", {}).values(), [*event.get("values", {}), event.get("name", "name")]
    if not all(NAME.fullmatch(str(name)) for name in names) and event["event"] not in ("run", "input"):
        return False
    if event["event"] == "status" and event["status"] not in (FINISHED, FAILED, KILLED, RUNNING):
        return False
    if event["event"] == "metrics":
        return all(_is_count(n) for n in numbers) and all(_is_value(value) for value in values)
    return all(_is_count(n) for n in numbers) and all(isinstance(value, str) for value in values)


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number <= LARGEST


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return value in NOT_FINITE
    return math.isfinite(value) if type(value) is float else type(value) is int and abs(value) <= LARGEST


@dataclass
class State:
    """Summary of a spool: enough to continue the run and never write a point twice."""

    header: Event | None = None
    status: str = ""
    resumes: int = 0
    unfinished: set[str] = field(default_factory=set)  # phases that began and did not finish
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, tuple[int, float]] = field(default_factory=dict)  # last (step, value) of each metric
    nonfinite: set[str] = field(default_factory=set)

    def apply(self, event: Event) -> None:
        """Take one more line into account."""
        match event["event"]:
            case "run":
                self.header = self.header or event
            case "session":
                self.resumes += is_resume(self, event["phase"], event["iteration"])
                self.unfinished.add(event["phase"])
                self.status = RUNNING
            case "status":
                self.status = event["status"]
                if self.status == FINISHED:
                    self.unfinished.discard(event["phase"])
            case "params":
                self.params.update(event["values"])
            case "metrics":
                for key, value in event["values"].items():
                    self.points[key] = (event["step"], float(value))
                    if not math.isfinite(float(value)):
                        self.nonfinite.add(key)


def is_resume(state: State, phase: str, iteration: int) -> bool:
    """Whether a session that begins now goes on with an earlier one."""
    return phase in state.unfinished or iteration > 0


def encode(value: float) -> float | str:
    """JSON has no nan and no infinity: they are spelled out, and float() reads both forms back exactly."""
    return value if math.isfinite(value) else str(value)
