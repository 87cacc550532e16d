"""The MLflow store: where it is, made once, never assumed to be there, and opened in a browser.

MLflow is imported inside functions: the import costs seconds and most callers never need it.
"""

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from contrastmask.errors import Failed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SQLITE, PROXIED = "sqlite:///", "mlflow-artifacts:/"
LOCK_TIMEOUT_S = 120.0
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down must be noticed in seconds; the next sync is what tries again.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Nor may MLflow's client repeat a request whose answer was lost: a run could be made twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # No connection kept open: one kept to a deleted database would go on failing after it was made anew.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
DESCRIPTION = """Every training and evaluation of one scale; the files under `results/` are the truth, this is a view.

To compare: choose the columns `method`, `setting`, `segm/novel/AP` and `segm/base/AP`, tick runs, press *Compare*.
The best of a table: search `tags.table_rows LIKE "%table5%"` and sort by `segm/novel/AP`."""

log = logging.getLogger(__name__)


class StoreError(Failed):
    """The MLflow store cannot be used; the message says which and what to do. Nothing is lost: the files are whole."""


def tracking_uri(results: Path) -> str:
    """$MLFLOW_TRACKING_URI, or the SQLite file of this result folder; never relative to a working directory."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(results).resolve() / 'mlflow.db'}"
    return f"{SQLITE}{database(uri).resolve()}" if uri.startswith(SQLITE) else uri


def database(uri: str) -> Path:
    """The file of an SQLite store."""
    return Path(uri.removeprefix(SQLITE))


def artifacts(uri: str) -> Path:
    """Where the artifacts of an SQLite store lie: beside it."""
    return database(uri).with_name("mlartifacts")


def folder_of(uri: str, run: "Run") -> Path | None:
    """Where the files of a run are laid for `make ui` to serve: an SQLite store has no server to send them to."""
    where: str = run.info.artifact_uri
    laid = uri.startswith(SQLITE) and where.startswith(PROXIED)
    return artifacts(uri) / where.removeprefix(PROXIED) if laid else None


def without_password(text: str) -> str:
    """A text for people, without the passwords of the addresses in it."""
    return re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1:***@", text)


@contextmanager
def errors_named(uri: str) -> Iterator[None]:
    """Whatever goes wrong within is a StoreError of one line: MLflow and SQLAlchemy wrap it in pages of their own."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        name = without_password(uri)
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if "out-of-date database schema" in str(error):
            reason = f"another MLflow version wrote it; copy the file, then run: mlflow db upgrade {name}"
        if getattr(error, "error_code", None) == "UNAUTHENTICATED":
            reason = "it wants a log-in and takes none that is in ~/.mlflow/credentials"
        raise StoreError(f"cannot use the MLflow store {name}: {without_password(reason)}") from error


def lock_of(uri: str) -> AbstractContextManager[object]:
    """Held while something is made in a store: at one time by one process. A server sees to that itself."""
    if not uri.startswith(SQLITE):
        return nullcontext()
    database(uri).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database(uri)}.lock", timeout=LOCK_TIMEOUT_S)


def connect(uri: str) -> "MlflowClient":
    """A client of a store that answers, made if it is an SQLite file that is not there.

    Raises:
        StoreError: it cannot be used.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    with errors_named(uri):
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # they would print a traceback at each attempt at a locked database
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with lock_of(uri):
            if uri.startswith(SQLITE):
                _create(database(uri))
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
        return client


def _create(path: Path) -> None:
    """Under the lock. Made beside and renamed, so that a kill half-way leaves nothing half made."""
    from mlflow import MlflowClient

    if path.exists() and path.stat().st_size > 0:
        return
    for left in path.parent.glob(f"{path.name}.*.new"):  # by who was killed here
        left.unlink(missing_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        MlflowClient(f"{SQLITE}{draft}").search_experiments(max_results=1)  # makes what is not there
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """Id of the experiment, made if it is not there; restored if somebody deleted it in MLflow."""
    from mlflow.exceptions import MlflowException

    with lock_of(uri):
        found = client.get_experiment_by_name(name)
        if found is None:
            # SQLite stores keep folders absolute: this address is relative to what `serve` serves, so results may move
            place = f"{PROXIED}{name}" if uri.startswith(SQLITE) else None
            try:
                return client.create_experiment(name, place, {"mlflow.note.content": DESCRIPTION})
            except MlflowException:
                found = client.get_experiment_by_name(name)  # somebody else of this server was faster
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
            log.warning("tracking: the experiment %s was deleted in MLflow and its runs go on: restored", name)
        return found.experiment_id


def serve(results: Path, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Become the MLflow server of a result folder: Ctrl-C then reaches it without us between. Call `sync` before.

    One worker and none of MLflow's job runners, which take a minute to start, 1.4 GB, and outlive the server.
    Returns at once if the store has a server already, after saying where.

    Raises:
        Failed: something listens on that port, or nothing can.
    """
    uri = tracking_uri(results)
    if not uri.startswith(SQLITE):
        print(f"MLflow is at {without_password(uri)}")
        return
    _check_free(host, port)
    print(
        f"MLflow on http://{host}:{port} in about ten seconds; Ctrl-C stops it.\n"
        "To compare runs: open the experiment contrastmask/<scale>, tick the runs, click Compare.",
        flush=True,
    )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", str(artifacts(uri)), "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    os.execve(sys.executable, command, os.environ | ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError as error:
            raise Failed(
                f"cannot listen on {host}, port {port}: {error.strerror}. Take another port: make ui PORT={port + 1}, "
                f"or contrastmask ui --port {port + 1}"
            ) from None
