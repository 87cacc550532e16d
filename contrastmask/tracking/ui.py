"""Opens MLflow on a result folder: behind `contrastmask ui`."""

import os
import socket
import sys
from pathlib import Path

from contrastmask.errors import Failed
from contrastmask.tracking.store import ENVIRONMENT, SQLITE, artifacts, tracking_uri, without_password


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
