"""The MLflow store: where it is, made once, never assumed to be there.

MLflow is imported inside functions: the import costs seconds and most callers never need it.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"  # beside the database
LOCK_TIMEOUT_S = 120.0
BUSY_S = 20.0  # as MLflow waits for another writer
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down must be noticed in seconds; the spool is what retries.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Nor may MLflow's client repeat a request whose answer was lost: a run could be made twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # No connection kept open: one kept to a deleted database would go on failing after it was made anew.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}


class StoreError(RuntimeError):
    """The MLflow store cannot be used; the message says which and what to do."""


def tracking_uri(results: Path) -> str:
    """$MLFLOW_TRACKING_URI, or the SQLite file of this result folder; never relative to a working directory."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(results).resolve() / 'mlflow.db'}"
    return f"{SQLITE}{Path(uri[len(SQLITE) :]).resolve()}" if uri.startswith(SQLITE) else uri


def shown(text: str) -> str:
    """A text for people, without the passwords of the addresses in it."""
    return re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1:***@", text)


def ensure_store(uri: str) -> None:
    """Create the SQLite database if it is not there, and check that the store answers. Raises StoreError.

    Done by one process at a time: first use in parallel leaves MLflow's tables half made.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        with _store_lock(uri):
            if uri.startswith(SQLITE):
                _create_database(Path(uri[len(SQLITE) :]))
                _follow_a_move(Path(uri[len(SQLITE) :]))
            _quiet_client(uri).search_experiments(max_results=1)
    except StoreError:
        raise
    except Exception as error:
        name = shown(uri)
        if "out-of-date database schema" in str(error):
            raise StoreError(
                f"{name} was written by another MLflow version; copy the file, then run: mlflow db upgrade {name}"
            ) from error
        if getattr(error, "error_code", None) == "UNAUTHENTICATED":
            raise StoreError(f"{name} wants a log-in and takes none that is in ~/.mlflow/credentials") from error
        raise StoreError(shown(f"cannot use the MLflow store {uri}: {reason(error)}")) from error


def _store_lock(uri: str) -> AbstractContextManager[object]:
    if not uri.startswith(SQLITE):
        return nullcontext()
    database = Path(uri[len(SQLITE) :])
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock", timeout=LOCK_TIMEOUT_S)


def _create_database(database: Path) -> None:
    """Under the lock. Made beside and renamed, so that a kill half-way leaves nothing half made."""
    if database.exists() and database.stat().st_size > 0:
        return
    for left in database.parent.glob(f"{database.name}.*.new"):  # by who was killed here
        left.unlink(missing_ok=True)
    draft = database.with_name(f"{database.name}.{os.getpid()}.new")
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"{SQLITE}{draft}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOCK_TIMEOUT_S)
        if done.returncode != 0:
            last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise StoreError(f"cannot create the MLflow store {database}: {last_line}")
        os.replace(draft, database)
    finally:
        draft.unlink(missing_ok=True)


def _follow_a_move(database: Path) -> None:
    """Under the lock. MLflow stores artefact folders absolute: for moved results it would write to the old place."""
    with closing(sqlite3.connect(database, timeout=BUSY_S)) as store, store:
        experiments = list(store.execute("SELECT experiment_id, name, artifact_location FROM experiments"))
        for number, name, place in experiments:
            here = _artifacts(database, name)
            if place != here and place and place.endswith(f"/{ARTIFACTS}/{name}"):
                store.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (here, number))
                store.execute(
                    "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?)"
                    " WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                    (here, len(place) + 1, number, len(place), place),
                )


def _artifacts(database: Path, experiment: str) -> str:
    """Where the artefacts of an experiment lie."""
    return str(database.parent / ARTIFACTS / experiment)


def _quiet_client(uri: str) -> MlflowClient:
    """A client that reports by exception only: a locked database would print a traceback at each attempt."""
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


@lru_cache(maxsize=1)
def connect(uri: str) -> MlflowClient:
    """A client of a store that answers. Clear this cache after a failure: the store may have been replaced."""
    ensure_store(uri)
    return _quiet_client(uri)


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment, created if need be. MLflow stores artefact folders absolute: say which we mean."""
    from mlflow.exceptions import MlflowException

    with _store_lock(uri):
        if found := client.get_experiment_by_name(name):
            return found.experiment_id
        folder = None  # a server decides for itself
        if uri.startswith(SQLITE):
            folder = _artifacts(Path(uri[len(SQLITE) :]), name)
        try:
            return client.create_experiment(name, artifact_location=folder)
        except MlflowException:
            if found := client.get_experiment_by_name(name):  # somebody else of this server was faster
                return found.experiment_id
            raise


def reason(error: BaseException) -> str:
    """One line about what is really wrong: MLflow and SQLAlchemy wrap it in pages of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
