"""An MLflow server for many writers: on PostgreSQL, with log-ins, artifacts through the server. docs/tracking.md

    python -m contrastmask.tracking.tracking_server serve --folder tracking-server --host 127.0.0.1 --port 5000
    python -m contrastmask.tracking.tracking_server user NAME --folder tracking-server

Everything is in one folder: database/, artifacts/, logs/, and secrets/, whose files only their owner can read. No
password is ever on a command line or in a log.
"""

from __future__ import annotations

import argparse
import configparser
import ipaddress
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contrastmask.runtime.locks import RunLock, Stop, on_signals
from contrastmask.tracking.postgres import HOST, Cluster, PostgresError, check_place
from contrastmask.tracking.store import ENVIRONMENT

ADMIN = "admin"
LOCAL, EVERYWHERE = ("localhost", HOST), ("0.0.0.0", "::")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a log-in names a file
START_S, STOP_S = 600.0, 30.0
REMEMBER_LOGIN_S = 60  # checking a password costs tens of milliseconds of every request


class ServerError(RuntimeError):
    """The server cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class Place:
    """The server's folder."""

    folder: Path

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def url(self) -> Path:
        """A file with the address of the server that was started last."""
        return self.folder / "url"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def credentials(self, user: str) -> Path:
        """A user's name and password in the form of ~/.mlflow/credentials."""
        return self.secrets / f"{user}.credentials"

    def make(self) -> None:
        """The folders; only their owner looks into them, and the database's user may pass through the outer one."""
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.folder.chmod(0o711)
        for folder in (self.artifacts, self.secrets, self.log("x").parent):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)

    def secret(self, name: str) -> str:
        """A random text, made when first asked for."""
        file = self.secrets / name
        if not file.exists():
            write_secret(file, secrets.token_urlsafe(24))
        return file.read_text()


def write_secret(file: Path, text: str) -> None:
    """Write a file that its owner alone can read, at no moment anybody else."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    draft.replace(file)


def write_credentials(file: Path, user: str, password: str) -> None:
    write_secret(file, f"[mlflow]\nmlflow_tracking_username = {user}\nmlflow_tracking_password = {password}\n")


def read_credentials(file: Path) -> tuple[str, str]:
    """User and password."""
    found = configparser.ConfigParser(interpolation=None)
    found.read(file)
    return found["mlflow"]["mlflow_tracking_username"], found["mlflow"]["mlflow_tracking_password"]


def serve(place: Place, host: str, port: int, database_port: int, names: tuple[str, ...]) -> int:
    """Run database and server until SIGTERM or Ctrl-C (0), or until one of them ends (1).

    Raises:
        ServerError, PostgresError: it cannot start.
    """
    check_place(place.folder)
    doors(host, port, names)
    place.make()
    lock = RunLock(place.folder / "server.lock")
    if not lock.acquire(wait=False):
        raise ServerError(f"a tracking server runs in {place.folder} already: {lock.holder()}")
    for name, number in (("--port", port), ("--database-port", database_port)):
        check_free(host if name == "--port" else HOST, number, name)
    cluster = Cluster(place.folder.resolve() / "database", database_port, place.secrets.resolve() / "pgpass")
    password = place.secret("database")
    write_secret(cluster.passwords, f"{HOST}:*:*:*:{password}\n")
    with lock, on_signals() as stop:
        cluster.create(password)
        with cluster.running(place.log("postgresql")) as database:
            for name in ("mlflow", "mlflow_auth"):
                cluster.add(name)
            with mlflow_running(place, cluster, host, port, names) as server:
                announce(place, server, host, port, stop)
                while not stop.requested:
                    for name, process in (("PostgreSQL", database), ("MLflow", server)):
                        if process.poll() is not None:
                            print(f"error: {name} ended by itself; see {place.log(name.lower())}", file=sys.stderr)
                            return 1
                    time.sleep(0.2)
    return 0


def check_free(host: str, port: int, option: str) -> None:
    """Raise ServerError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError as error:
            raise ServerError(f"cannot listen on {host}, port {port}: {error.strerror}; see {option}") from None


def doors(host: str, port: int, names: tuple[str, ...]) -> list[str]:
    """MLflow's options that say under which addresses runs and browsers may ask for it.

    It refuses all others, so that no page elsewhere can use a browser that is logged in. On loopback it needs none.

    Raises:
        ServerError: it listens everywhere and nobody said under which names.
    """
    if is_loopback(host) and not names:
        return []
    if host in EVERYWHERE and not names:
        raise ServerError(f"--host {host} needs --names: the host names or addresses under which others reach it")
    known = [f"[{name}]" if ":" in name else name for name in (host, *names) if name not in EVERYWHERE]
    hosts = [*known, *(f"{name}:{port}" for name in known), *LOCAL, *(f"{name}:*" for name in LOCAL)]
    origins = [f"{scheme}://{name}{end}" for name in known for scheme in ("http", "https") for end in ("", f":{port}")]
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]


@contextmanager
def mlflow_running(
    place: Place, cluster: Cluster, host: str, port: int, names: tuple[str, ...]
) -> Iterator[subprocess.Popen[bytes]]:
    """The MLflow server, started; stopped at the end, or if this process dies.

    One worker: log-ins that are remembered, and the first making of the tables, are then nobody else's business.
    """
    command = ["setpriv", "--pdeathsig=TERM", sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", cluster.uri("mlflow")]
    command += ["--artifacts-destination", str(place.artifacts.resolve())]
    command += doors(host, port, names)
    with place.log("mlflow").open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment(place, cluster), start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def environment(place: Place, cluster: Cluster) -> dict[str, str]:
    """What the MLflow server needs to know and nobody else."""
    admin = place.credentials(ADMIN)
    if not admin.exists():
        write_credentials(admin, ADMIN, secrets.token_urlsafe(24))
    name, password = read_credentials(admin)
    settings = configparser.ConfigParser(interpolation=None)
    settings["mlflow"] = {
        # whoever has a log-in reads and writes all experiments; only its owner or the administrator deletes one
        "default_permission": "EDIT",
        "database_uri": cluster.uri("mlflow_auth"),
        "admin_username": name,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": str(REMEMBER_LOGIN_S),
    }
    file = place.secrets / "auth.ini"
    with file.open("w") as stream:
        settings.write(stream)
    foreign = ("MLFLOW_TRACKING_", "MLFLOW_BACKEND_", "MLFLOW_REGISTRY_")  # of who starts the server, not of it
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return kept | {
        "MLFLOW_DISABLE_TELEMETRY": ENVIRONMENT["MLFLOW_DISABLE_TELEMETRY"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(file.resolve()),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": place.secret("cookies"),
        "PGPASSFILE": str(cluster.passwords),
    }


def announce(place: Place, server: subprocess.Popen[bytes], host: str, port: int, stop: Stop) -> None:
    """Wait until the server answers, then say how to use it."""
    url = address(host, port)
    deadline = time.monotonic() + START_S
    while not answers(f"{url}/health"):
        if stop.requested:
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"MLflow does not start; see {place.log('mlflow')}")
        time.sleep(0.2)
    place.url.write_text(url)
    print(f"MLflow on {url}, log-ins in {place.secrets}; Ctrl-C stops it.")
    if not is_loopback(host):
        print("It speaks plain HTTP: put a proxy with TLS before it, or keep it in a network that you trust.")
    print(f"Runs go there with MLFLOW_TRACKING_URI={url}", flush=True)


def address(host: str, port: int) -> str:
    """Where to reach the server from this machine."""
    host = HOST if host in EVERYWHERE else host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def add_user(place: Place, name: str) -> Path:
    """Give a user a log-in at the running server, or a new password; returns the file with it.

    Raises:
        ServerError: no server, or it refuses.
    """
    import requests

    if not NAME.fullmatch(name) or name == ADMIN:
        raise ServerError(f"'{name}' cannot be a log-in: letters, digits, '.', '-' and '_', and not '{ADMIN}'")
    if not place.url.exists():
        raise ServerError(f"no tracking server was started in {place.folder}; start one, then ask again")
    users = f"{place.url.read_text()}/api/2.0/mlflow/users"
    asked = {"username": name, "password": secrets.token_urlsafe(24)}
    login = read_credentials(place.credentials(ADMIN))
    try:
        said = requests.post(f"{users}/create", json=asked, auth=login, timeout=30)
        if said.status_code == 400 and said.json().get("error_code") == "RESOURCE_ALREADY_EXISTS":
            said = requests.patch(f"{users}/update-password", json=asked, auth=login, timeout=30)
    except requests.ConnectionError:
        raise ServerError(f"the tracking server at {place.url.read_text()} does not answer; start it first") from None
    if said.status_code != 200:
        raise ServerError(f"the tracking server refused ({said.status_code}): {said.text.strip()}")
    write_credentials(place.credentials(name), name, asked["password"])
    return place.credentials(name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.tracking.tracking_server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="run it until Ctrl-C")
    server.add_argument("--host", default=HOST, help="the address to listen on; 127.0.0.1: this machine only")
    server.add_argument("--port", type=int, default=5000)
    server.add_argument("--database-port", type=int, default=5433, help="always on 127.0.0.1")
    server.add_argument("--names", nargs="+", default=[], help="host names under which others reach it")
    user = commands.add_parser("user", help="a log-in, or a new password for it")
    user.add_argument("name")
    for command in (server, user):
        command.add_argument("--folder", type=Path, default=Path("tracking-server"))
    given = parser.parse_args(arguments)
    place = Place(given.folder)
    try:
        if given.command == "serve":
            return serve(place, given.host, given.port, given.database_port, tuple(given.names))
        print(f"{add_user(place, given.name)}: hand it over safely; it belongs at ~/.mlflow/credentials, mode 600")
        return 0
    except (ServerError, PostgresError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
