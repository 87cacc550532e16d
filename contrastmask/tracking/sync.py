"""Brings MLflow up to date with the curves files of runs: all of a result folder, or one that goes on."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from contrastmask.errors import ConfigError
from contrastmask.tracking.curves import NAME, end_if_killed
from contrastmask.tracking.sending import send, send_tables
from contrastmask.tracking.store import StoreError, connect, tracking_uri, without_password

OF_A_CHAIN = "CONTRASTMASK_CHAIN"  # set in the environment of what Snakemake runs
INTERVAL_S, MAX_INTERVAL_S = 10.0, 300.0
END_S, KILLED_END_S = 60.0, 5.0  # what the end of a run waits for MLflow; who sends SIGTERM sends SIGKILL soon after

log = logging.getLogger(__name__)


@dataclass
class Synced:
    """What a `sync` did: runs that are up to date, lines sent, runs found killed, and why some could not be sent."""

    runs: int = 0
    lines: int = 0
    killed: int = 0
    failed: list[str] = field(default_factory=list)


def sync(results: Path, uri: str | None = None) -> Synced:
    """Bring MLflow up to date with every run of a result folder; those that were killed are noted as such first.

    Raises:
        StoreError: the store cannot be used.
    """
    uri, done = uri or tracking_uri(results), Synced()
    folders = [path.parent for path in sorted(Path(results).glob(f"*/runs/*/*/{NAME}"))]
    for folder in folders:
        try:
            done.killed += end_if_killed(folder)
        except OSError as error:
            done.failed.append(f"cannot look after {folder}: {error}")
    client = connect(uri)
    for folder in folders:
        try:
            done.lines += send(client, uri, folder)
            done.runs += 1
        except StoreError as error:
            done.failed.append(f"{folder}: {error}")
    for scale in sorted({folder.parents[2] for folder in folders}):
        try:
            send_tables(client, uri, scale)
        except StoreError as error:
            done.failed.append(f"{scale}: {error}")
    return done


def sync_and_say(results: Path) -> bool:
    """`sync`, and what it did on standard output; whether every run could be sent.

    Raises:
        ConfigError: there is no such folder.
        StoreError: the store cannot be used.
    """
    if not results.is_dir():
        raise ConfigError(f"no folder {results}: name the results folder of a workflow with --results")
    done = sync(results)
    where = without_password(tracking_uri(results))
    print(f"{done.runs} runs in {where}: {done.lines} new lines, {done.killed} marked as killed")
    for failure in done.failed:
        print(f"tracking: {failure}", file=sys.stderr)
    return not done.failed


# ---------------------------------------------------------------------------- while a run goes on


@contextmanager
def live(folder: Path, interval: float = INTERVAL_S, end: float = END_S) -> Iterator[None]:
    """Within: a thread sends what the run in `folder` writes every `interval` s, and once more at the end.

    It neither stops nor fails the run. What the end does not wait for, at most `end` s, the next `sync` sends.
    """
    folder, closing = Path(folder).resolve(), threading.Event()
    uri = tracking_uri(folder.parents[min(3, len(folder.parents) - 1)])  # the result folder
    thread = threading.Thread(target=_keep_sending, args=(folder, uri, interval, closing), daemon=True)
    thread.start()
    try:
        yield
    except SystemExit:
        end = min(end, KILLED_END_S)
        raise
    finally:
        closing.set()
        thread.join(end)
        if thread.is_alive():
            log.warning("tracking: %s is slow; `contrastmask sync` will send the rest", without_password(uri))


def _keep_sending(folder: Path, uri: str, interval: float, closing: threading.Event) -> None:
    """Send every `interval` s, less and less often while that fails, and once more when closing.

    A run of a chain that is over before the first time leaves it to the chain, which sends all at its end: importing
    MLflow would take longer than such a run.
    """
    delay, failing, last = interval, False, False
    short = bool(os.environ.get(OF_A_CHAIN))
    while not last:
        last = closing.wait(delay)
        if last and short:
            return
        short = False
        try:
            send(connect(uri), uri, folder)
        except StoreError as error:
            if not failing:
                log.warning("tracking: %s; the run goes on, a later try or `contrastmask sync` will send it", error)
            delay, failing = min(2 * delay, MAX_INTERVAL_S), True
        else:
            if failing:
                log.warning("tracking: %s works again", without_password(uri))
            delay, failing = interval, False
