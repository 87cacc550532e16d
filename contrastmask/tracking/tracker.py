"""What a training or evaluation calls to be recorded.

A `Tracker` writes to its spool (see spool.py) and returns; a thread sends the spool to MLflow every few seconds.
Nothing that goes wrong with MLflow reaches the training: what could not be sent is sent later, at the latest by
`sync` (see tracking.py).
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contrastmask.runtime.locks import Interrupted
from contrastmask.tracking.shipping import ship
from contrastmask.tracking.spool import FAILED, FINISHED, KILLED, Spool, encode, is_resume
from contrastmask.tracking.store import StoreError, shown

SPOOL_NAME = "tracking.jsonl"
MAX_DELAY_S = 300.0
KILLED_CLOSE_S = 5.0  # who sends SIGTERM sends SIGKILL soon after
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_NAME, MAX_DIGEST, MAX_SOURCE = 250, 6000, 8000, 500, 36, 60_000  # MLflow's
MAX_TEXT = 1_000_000  # ours: a text is for reading

log = logging.getLogger(__name__)


def throttle(step: int, total: int, max_points: int = 2000) -> bool:
    """Whether to log step `step` (1..total): evenly spaced steps and the last, at most `max_points` in all."""
    return step == total or step % math.ceil(total / max_points) == 0


class Tracker:
    """The record of one run, continued if `work_dir` has one. Call it from one thread, holding the run lock.

    `interval`: seconds between two shipments; `close_timeout`: seconds that the end of a session may wait for the
    last one.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        experiment: str,
        run_name: str,
        uri: str,
        interval: float = 15.0,
        close_timeout: float = 60.0,
    ) -> None:
        self.spool = Spool(Path(work_dir) / SPOOL_NAME)
        self.uri = uri
        self.interval = interval
        self.close_timeout = close_timeout
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.spool.heal()
        self._state = self.spool.state()
        if self._state.header is None:
            self._append("run", id=uuid.uuid4().hex, experiment=experiment, name=run_name)

    def params(self, values: Mapping[str, object]) -> None:
        """Hyper-parameters. They cannot change in MLflow: a new value of an old one becomes a tag."""
        texts = {_key(key): _text(value, MAX_PARAM) for key, value in values.items()}
        old = dict(self._state.params)
        if new := {key: text for key, text in texts.items() if key not in old}:
            self._append("params", values=new)
        changed = {key: text for key, text in texts.items() if old.get(key, text) != text}
        self.tags({f"param_changed.{key}": text for key, text in changed.items()})

    def tags(self, values: Mapping[str, object]) -> None:
        """Facts that may change from session to session; the last value stays."""
        if values:
            self._append("tags", values={_key(key): _text(value, MAX_TAG) for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int, *, final: bool = False) -> None:
        """Points of curves. A step not beyond the last one of its curve is dropped: a resumed run repeats some.

        `final`: results rather than points of a curve: a value that differs at the same step is written as well,
        and is then the one that MLflow shows.
        """
        numbers = {_key(key): float(value) for key, value in values.items()}
        fresh = {key: number for key, number in numbers.items() if self._is_new(key, step, number, final)}
        strange = {key: n for key, n in fresh.items() if not math.isfinite(n) and key not in self._state.nonfinite}
        if fresh:
            self._append("metrics", step=int(step), values={key: encode(number) for key, number in fresh.items()})
        self.tags({f"nonfinite.{key}": f"{number} at step {step}" for key, number in strange.items()})

    def _is_new(self, key: str, step: int, value: float, final: bool) -> bool:
        last_step, last_value = self._state.points.get(key, (-1, math.nan))
        return step > last_step or (final and step == last_step and value != last_value)

    def dataset(self, name: str, digest: str, source: str | Path, context: str) -> None:
        """A dataset that the run reads; `context` is `training` or `evaluation`. The digest is cut to 36."""
        self._append(
            "input",
            name=_text(name, MAX_NAME),
            digest=digest[:MAX_DIGEST],
            source=_text(source, MAX_SOURCE),
            context=context,
        )

    def text(self, name: str, content: str) -> None:
        """A small text file, such as the resolved configuration, shown among the run's artefacts."""
        self._append("text", name=_key(name), text=_text(content, MAX_TEXT))

    @contextmanager
    def session(self, phase: str, iteration: int = 0) -> Iterator[Tracker]:
        """Keeps the status true while `phase` (train, evaluate) runs; `iteration`: where training goes on from.

        FINISHED at the end; KILLED by `Interrupted` or Ctrl-C; FAILED with the tag `last_error` by any other
        exception. A SIGKILL leaves RUNNING, which `reap` puts right.
        """
        resumes = is_resume(self._state, phase, iteration)
        self._append("session", phase=phase, iteration=int(iteration))
        try:
            if resumes:
                self.tags({"resumes": self._state.resumes, "resumed_at": iteration})
            yield self
        except BaseException as error:
            status = _status_of(error)
            if status == FAILED:
                self.tags({"last_error": f"{type(error).__name__}: {error}"})
            self._end(status, phase)
            raise
        self._end(FINISHED, phase)

    def _end(self, status: str, phase: str) -> None:
        self._append("status", status=status, phase=phase)
        self.close(KILLED_CLOSE_S if status == KILLED else self.close_timeout)

    def close(self, timeout: float) -> None:
        """Ship what is left, for at most `timeout` seconds. A later call of any method starts shipping again."""
        if self._thread is None:
            return
        self._closing.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            log.warning("tracking: %s is slow; `sync` will send the rest of %s", shown(self.uri), self.spool.path)
        self._thread = None

    def _append(self, kind: str, **content: object) -> None:
        event = {"event": kind, "time": time.time_ns() // 1_000_000, **content}
        self.spool.append(event)
        self._state.apply(event)
        if self._thread is None:
            self._closing = threading.Event()
            self._thread = threading.Thread(
                target=_keep_shipping, args=(self.spool, self.uri, self.interval, self._closing), daemon=True
            )
            self._thread.start()


def _keep_shipping(spool: Spool, uri: str, interval: float, closing: threading.Event) -> None:
    """Thread: ship every `interval` s, less and less often while that fails, and once more when closing."""
    delay, failing = interval, False
    while True:
        last = closing.wait(delay)
        try:
            ship(spool, uri)
        except StoreError as error:
            if not failing:
                log.warning("tracking: %s; the run goes on, `sync` or a later try will send it", error)
            delay, failing = min(2 * delay, MAX_DELAY_S), True
        else:
            if failing:
                log.info("tracking: %s works again", shown(uri))
            delay, failing = interval, False
        if last:
            return


def _status_of(error: BaseException) -> str:
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return KILLED
    if isinstance(error, SystemExit) and error.code in (130, 143):  # 128 + SIGINT, 128 + SIGTERM
        return KILLED
    return FINISHED if isinstance(error, SystemExit) and error.code in (None, 0) else FAILED


def _key(name: str) -> str:
    """The nearest name that MLflow accepts: it wants word characters and a normal relative path."""
    parts = re.sub(r"[^/\w.\- ]", "_", str(name))[:MAX_KEY].split("/")
    return "/".join(part for part in parts if part.strip(".")) or "unnamed"


def _text(value: object, limit: int) -> str:
    """Cut, and without the half characters that a file name may hold and a database does not take."""
    return str(value)[:limit].encode("utf-8", "replace").decode()
