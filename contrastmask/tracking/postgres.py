"""A PostgreSQL cluster of our own in a folder: made once, on 127.0.0.1 alone, with a password that is kept in a file.

PostgreSQL refuses to run as root: as root, it runs as the user `postgres`, whom Debian's package makes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")  # /<version>/bin
INSTALL = "install it: apt-get install postgresql"
ACCOUNT = "postgres"
HOST, USER = "127.0.0.1", "contrastmask"
START_S, STOP_S = 60.0, 60.0


class PostgresError(RuntimeError):
    """The database cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Cluster:
    """The databases in `folder`, for a server on `port`. `passwords` is a file as libpq's PGPASSFILE."""

    folder: Path
    port: int
    passwords: Path

    def uri(self, database: str) -> str:
        """For SQLAlchemy, without the password: libpq takes that from $PGPASSFILE."""
        return f"postgresql+psycopg2://{USER}@{HOST}:{self.port}/{database}"

    def create(self, password: str) -> None:
        """Make the cluster if it is not there. Made beside and renamed: a kill half-way leaves nothing half made."""
        if self.folder.exists():
            return
        draft = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        with tempfile.NamedTemporaryFile("w", prefix="contrastmask-") as file:  # mode 600
            file.write(password)
            file.flush()
            for ours in (draft, file.name):
                _hand_over(ours)
            options = ["--auth=scram-sha-256", f"--pwfile={file.name}", f"--username={USER}"]
            options += ["--encoding=UTF8", "--locale=C.UTF-8"]
            command = [*_as_account(), str(program("initdb")), "-D", str(draft), *options]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/")
        if done.returncode != 0:
            raise PostgresError(f"cannot make a database in {self.folder}: {_last_line(done.stderr)}")
        draft.rename(self.folder)

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The server, ready and with nobody else's data; shut down cleanly at the end, or if this process dies."""
        options = ["-p", str(self.port), "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="]
        command = [*_as_account(), "--pdeathsig=INT", str(program("postgres")), "-D", str(self.folder), *options]
        with log.open("ab") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, cwd="/", start_new_session=True)
        try:
            self._wait(process, log)
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: it waits for no client and loses nothing
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        import psycopg2

        deadline = time.monotonic() + START_S
        while process.poll() is None:
            try:
                self._connect("postgres").close()
                return
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise PostgresError(f"the database on port {self.port} does not answer: {error}") from error
            time.sleep(0.1)
        raise PostgresError(f"the database did not start: {_last_line(log.read_text())} ({log})")

    def add(self, database: str) -> None:
        """Make a database of the running server if it is not there."""
        connection = self._connect("postgres")
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if not cursor.fetchone():
                    cursor.execute(f'CREATE DATABASE "{database}"')
        finally:
            connection.close()

    def _connect(self, database: str) -> Any:
        import psycopg2

        return psycopg2.connect(
            host=HOST, port=self.port, user=USER, dbname=database, passfile=str(self.passwords), connect_timeout=5
        )


def program(name: str) -> Path:
    """One of PostgreSQL's programs, of Debian's newest version or on PATH.

    Raises:
        PostgresError: it is not installed.
    """
    versions = [folder for folder in DEBIAN.glob("*/bin") if folder.parent.name.isdigit() and (folder / name).exists()]
    if versions:
        return max(versions, key=lambda folder: int(folder.parent.name)) / name
    found = shutil.which(name)
    if found is None:
        raise PostgresError(f"PostgreSQL is not there (no {name}); {INSTALL}")
    return Path(found)


def check_place(folder: Path) -> None:
    """Whether PostgreSQL can run here and reach `folder`.

    Raises:
        PostgresError: a program, the account or a permission is missing.
    """
    program("initdb"), program("postgres")
    if not shutil.which("setpriv"):
        raise PostgresError("setpriv is not there; install it: apt-get install util-linux")
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise PostgresError(f"PostgreSQL does not run as root and there is no user '{ACCOUNT}'; {INSTALL}") from None
    way = [place for place in (folder.resolve(), *folder.resolve().parents) if place.exists()]
    closed = [place for place in way if not place.stat().st_mode & 0o001]
    if closed:
        raise PostgresError(
            f"as root, the database runs as user '{ACCOUNT}', who cannot pass {closed[-1]}; "
            "name a folder elsewhere, or run this as an ordinary user"
        )


def _as_account() -> list[str]:
    """Before a command: run it as who may run PostgreSQL."""
    if os.geteuid() != 0:
        return ["setpriv"]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]


def _hand_over(path: str | Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, ACCOUNT, ACCOUNT)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
