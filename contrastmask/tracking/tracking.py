"""Tracking of runs: one place to import it from, and the command that brings MLflow up to date.

    python -m contrastmask.tracking.tracking sync --results results
    python -m contrastmask.tracking.tracking ui --results results --port 5000

Files are the truth, MLflow is a view: each run spools to `work/tracking.jsonl`, and `sync` fills any store from it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from contrastmask.runtime.locks import RunLock
from contrastmask.tracking.shipping import ship
from contrastmask.tracking.spool import KILLED, RUNNING, Spool
from contrastmask.tracking.store import ENVIRONMENT, SQLITE, StoreError, ensure_store, shown, tracking_uri
from contrastmask.tracking.tracker import SPOOL_NAME, Tracker, throttle

LOCK_NAME = "run.lock"  # the lock of a run, beside its spool
__all__ = ["LOCK_NAME", "StoreError", "Tracker", "ensure_store", "reap", "sync", "throttle", "tracking_uri"]


@dataclass
class Synced:
    """What a `sync` did."""

    runs: int = 0
    lines: int = 0
    failed: list[str] = field(default_factory=list)


def _spools(results: Path) -> list[Spool]:
    return [Spool(path) for path in sorted(Path(results).glob(f"*/runs/*/*/work/{SPOOL_NAME}"))]


def reap(results: Path) -> int:
    """Mark as KILLED the runs that say RUNNING though no process holds their lock; how many."""
    return sum(_reap_one(spool) for spool in _spools(results))


def _reap_one(spool: Spool) -> bool:
    lock = RunLock(spool.path.with_name(LOCK_NAME))
    try:
        if spool.state().status != RUNNING or not lock.acquire(wait=False):
            return False
    except OSError as error:
        print(f"tracking: cannot look after {spool.path}: {error}", file=sys.stderr)
        return False
    with lock:
        spool.heal()
        if spool.state().status != RUNNING:  # it ended between our look and our lock
            return False
        now = time.time_ns() // 1_000_000
        spool.append({"event": "tags", "time": now, "values": {"reaped": "the process was gone"}})
        spool.append({"event": "status", "time": now, "status": KILLED, "phase": ""})
        return True


def sync(results: Path, uri: str | None = None) -> Synced:
    """Send all spools of a result folder to MLflow, or to another store. Raises StoreError if that is unusable."""
    uri = uri or tracking_uri(results)
    done = Synced()
    ensure_store(uri)
    for spool in _spools(results):
        try:
            done.lines += ship(spool, uri)
            done.runs += 1
        except StoreError as error:
            done.failed.append(str(error))
    return done


def _sync_command(results: Path) -> int:
    reaped = reap(results)
    try:
        done = sync(results)
    except StoreError as error:
        print(
            f"tracking: {error}\nNothing is lost: the spools are complete; run sync again later.",
            file=sys.stderr,
        )
        return 1
    print(f"{done.runs} runs in {shown(tracking_uri(results))}: {done.lines} new lines, {reaped} marked as killed")
    for failure in done.failed:
        print(f"tracking: {failure}", file=sys.stderr)
    return 1 if done.failed else 0


def _ui_command(results: Path, host: str, port: int) -> int:
    """Bring the store up to date, then become the MLflow server: Ctrl-C then reaches it without us between."""
    _sync_command(results)
    uri = tracking_uri(results)
    if not uri.startswith(SQLITE):
        print(f"MLflow is at {shown(uri)}")
        return 0
    print(
        f"MLflow on http://{host}:{port} in about ten seconds; Ctrl-C stops it.\n"
        "To compare runs: open the experiment contrastmask/<scale>, tick the runs, click Compare.",
        flush=True,
    )
    settings = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(Path(results).resolve() / "mlartifacts")]
    command += ["--workers", "1", "--host", host, "--port", str(port)]
    os.execve(sys.executable, command, settings)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The MLflow view of a result folder.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("sync", "send to MLflow what it does not have"), ("ui", "sync, then open MLflow")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--results", type=Path, default=Path("results"))
        if name == "ui":
            command.add_argument("--host", default="127.0.0.1")
            command.add_argument("--port", type=int, default=5000)
    args = parser.parse_args(argv)
    if not args.results.is_dir():
        parser.error(f"no folder {args.results}: name the result folder of a workflow with --results")
    if args.command == "sync":
        return _sync_command(args.results)
    return _ui_command(args.results, args.host, args.port)


if __name__ == "__main__":
    sys.exit(main())
