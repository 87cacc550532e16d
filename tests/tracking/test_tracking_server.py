"""Eight runs that write to the real server on a real PostgreSQL while it is stopped and started again."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from contrastmask.tracking import tracking_server
from contrastmask.tracking.postgres import PostgresError, program
from contrastmask.tracking.spool import Spool
from contrastmask.tracking.store import StoreError, ensure_store, shown
from contrastmask.tracking.tracker import SPOOL_NAME
from contrastmask.tracking.tracking import sync
from contrastmask.tracking.tracking_server import (
    Place,
    ServerError,
    add_user,
    doors,
    is_loopback,
    main,
    read_credentials,
)

ROOT = Path(__file__).parents[2]
EXPERIMENT = "contrastmask/smoke"
RUNS = [f"run-{number}" for number in range(8)]
EARLY = RUNS[:2]  # end while the server is down

WRITER = f"""
import math, sys, time
from pathlib import Path
from contrastmask.runtime.locks import RunLock
from contrastmask.tracking.tracking import LOCK_NAME, Tracker, tracking_uri
work, run = Path(sys.argv[1]), sys.argv[2]
with RunLock(work / LOCK_NAME):
    tracker = Tracker(work, experiment="{EXPERIMENT}", run_name=run, uri=tracking_uri(work), interval=0.5)
    with tracker.session("train"):
        tracker.params({{"run": run, "lr": 0.02}})
        tracker.tags({{"git.commit": "abc"}})
        tracker.dataset("synthetic", "d" * 32, "train.json", "training")
        tracker.text("config.json", run * 1000)
        step = 0
        while not (work / "finish").exists():
            step += 1
            tracker.metrics({{"loss": math.exp(-step / 7) / 3, "lr": 0.02 / step}}, step)
            time.sleep(0.02)
"""


def free_port() -> int:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


class Server:
    """The real command, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder)
        self.ports = {"--port": str(free_port()), "--database-port": str(free_port())}
        self.url = f"http://127.0.0.1:{self.ports['--port']}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        options = [word for pair in self.ports.items() for word in pair]
        command = [sys.executable, "-m", "contrastmask.tracking.tracking_server", "serve", *options]
        command += ["--folder", str(self.place.folder), "--names", "tracking.test"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout and self.url in self.process.stdout.readline(), self.logs()

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in self.place.log("x").parent.glob("*.log"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that is up. Not below pytest's folder: as root, the database's user may not enter that."""
    try:
        program("initdb")
    except PostgresError as error:
        if os.environ.get("CONTRASTMASK_POSTGRES") == "required":
            raise
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="contrastmask-tracking-"))
    folder.chmod(0o711)
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder whose ~/.mlflow/credentials are a user's, and runs that go to the server."""
    credentials = tmp_path / "home" / ".mlflow" / "credentials"
    credentials.parent.mkdir(parents=True)
    shutil.copy(add_user(server.place, "alice"), credentials)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return tmp_path / "home"


def query(server: Server, sql: str) -> list[tuple]:
    import psycopg2

    passwords = str(server.place.secrets / "pgpass")
    port = int(server.ports["--database-port"])
    connection = psycopg2.connect(host="127.0.0.1", port=port, user="contrastmask", dbname="mlflow", passfile=passwords)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def steps_of(work: Path) -> int:
    """Points of each curve that the run has noted so far."""
    return sum(event is not None and event["event"] == "metrics" for event, _ in Spool(work / SPOOL_NAME).read())


# ---------------------------------------------------------------------------- nothing is lost


def test_eight_runs_while_the_server_is_stopped_and_started(server: Server, home: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    works = {run: results / "smoke" / "runs" / run / "seed0" / "work" for run in RUNS}
    writers = {
        run: subprocess.Popen([sys.executable, "-c", WRITER, str(work), run], cwd=ROOT) for run, work in works.items()
    }
    try:
        wait_for(lambda: all((work / "tracking.offset.json").exists() for work in works.values()))
        server.stop()
        at_stop = {run: steps_of(work) for run, work in works.items()}
        for run in EARLY:
            (works[run] / "finish").touch()
        wait_for(lambda: all(steps_of(works[run]) > at_stop[run] + 50 for run in RUNS if run not in EARLY))
        for run in EARLY:
            assert writers[run].wait(timeout=60) == 0
        server.start()
        at_start = {run: steps_of(work) for run, work in works.items()}
        wait_for(lambda: all(steps_of(works[run]) > at_start[run] + 50 for run in RUNS if run not in EARLY))
        for run in RUNS:
            (works[run] / "finish").touch()
        assert [writer.wait(timeout=120) for writer in writers.values()] == [0] * len(RUNS)
    finally:
        for writer in writers.values():
            writer.kill()
    assert sync(results).failed == []
    assert_complete(works)
    points = 2 * sum(steps_of(work) for work in works.values())
    down = 2 * sum(at_start[run] - at_stop[run] for run in RUNS)
    print(f"{points} points of {len(RUNS)} runs, {down} of them written while the server was down")
    assert query(server, "SELECT count(*) FROM metrics") == [(points,)]
    assert query(server, "SELECT count(*) FROM runs") == [(len(RUNS),)]
    assert sync(results).lines == 0


def assert_complete(works: dict[str, Path]) -> None:
    """Every run is there once, with every point, parameter, tag, data set and artefact."""
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(found) == RUNS
    for name, run in found.items():
        steps = range(1, steps_of(works[name]) + 1)
        curves = {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in ("loss", "lr")
        }
        assert curves["loss"] == [(step, math.exp(-step / 7) / 3) for step in steps]
        assert curves["lr"] == [(step, 0.02 / step) for step in steps]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"run": name, "lr": "0.02"} and run.data.tags["git.commit"] == "abc"
        assert [data.dataset.digest for data in run.inputs.dataset_inputs] == ["d" * 32]
        local = client.download_artifacts(run.info.run_id, "config.json", str(works[name]))
        assert Path(local).read_text() == name * 1000


# ---------------------------------------------------------------------------- who gets in


@pytest.mark.parametrize("path", ["/", "/api/2.0/mlflow/experiments/search", "/api/2.0/mlflow-artifacts/artifacts"])
@pytest.mark.parametrize("login", [None, ("alice", "wrong"), ("admin", "password1234")])
def test_nobody_gets_in_without_a_log_in(server: Server, path: str, login: tuple[str, str] | None) -> None:
    assert requests.get(server.url + path, auth=login, timeout=30).status_code == 401


def test_a_run_without_a_log_in_is_told_so(server: Server, home: Path) -> None:
    ensure_store(server.url)
    (home / ".mlflow" / "credentials").unlink()
    with pytest.raises(StoreError, match="wants a log-in"):
        ensure_store(server.url)


def test_asking_again_gives_a_new_password_and_ends_the_old(server: Server) -> None:
    search = f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1"
    old = read_credentials(add_user(server.place, "bob"))
    assert requests.get(search, auth=old, timeout=30).status_code == 200
    new = read_credentials(add_user(server.place, "bob"))
    assert requests.get(search, auth=old, timeout=30).status_code == 401
    assert requests.get(search, auth=new, timeout=30).status_code == 200


def test_users_read_and_write_each_others_runs_and_do_not_delete_them(server: Server) -> None:
    alice, bob = (read_credentials(add_user(server.place, name)) for name in ("alice", "bob"))
    api = f"{server.url}/api/2.0/mlflow"
    name = {"name": "of-alice"}
    made = requests.post(f"{api}/experiments/create", json=name, auth=alice, timeout=30).json()
    ids = {"experiment_id": made["experiment_id"]}
    assert requests.post(f"{api}/runs/create", json=ids, auth=bob, timeout=30).status_code == 200
    assert requests.post(f"{api}/experiments/delete", json=ids, auth=bob, timeout=30).status_code == 403
    users = requests.post(f"{api}/users/create", json={"username": "x", "password": "y" * 20}, auth=bob, timeout=30)
    assert users.status_code == 403


def test_only_its_own_names_and_pages_may_ask(server: Server) -> None:
    alice = read_credentials(add_user(server.place, "alice"))
    search = f"{server.url}/api/2.0/mlflow/experiments/search"

    def ask(**headers: str) -> int:
        return requests.post(search, json={"max_results": 1}, auth=alice, headers=headers, timeout=30).status_code

    port = server.ports["--port"]
    assert {ask(), ask(Host="tracking.test"), ask(Host=f"tracking.test:{port}", Origin="https://tracking.test")} == {
        200
    }
    assert ask(Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
    assert {ask(Host="elsewhere.test"), ask(Origin="http://elsewhere.test")} == {403}


def test_both_servers_listen_on_loopback_alone(server: Server) -> None:
    ports = {int(port) for port in server.ports.values()}
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    ours = [address for address in listening if address.port in ports]
    assert {address.port for address in ours} == ports and {address.ip for address in ours} == {"127.0.0.1"}


def test_passwords_are_in_private_files_only(server: Server) -> None:
    add_user(server.place, "alice")
    assert stat.S_IMODE(server.place.secrets.stat().st_mode) == 0o700
    files = list(server.place.secrets.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.name != "auth.ini"} == {0o600}
    passwords = {read_credentials(file)[1] for file in files if file.suffix == ".credentials"}
    passwords |= {(server.place.secrets / name).read_text() for name in ("database", "cookies")}
    assert len(passwords) >= 4 and min(map(len, passwords)) >= 32
    assert server.process
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    lines = " ".join(word for process in family for word in process.cmdline())
    assert "mlflow" in lines and "postgres" in lines
    for text in (lines, server.logs(), (server.place.secrets / "auth.ini").read_text()):
        assert not [password for password in passwords if password in text]


# ---------------------------------------------------------------------------- what goes wrong


def test_a_second_server_in_one_folder_is_refused(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--folder", str(server.place.folder), "--port", str(free_port())]) == 2
    assert "runs in" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="contrastmask-tracking-") as folder:
        Path(folder).chmod(0o711)
        assert main(["serve", "--folder", folder, "--port", server.ports["--port"]]) == 2
    assert re.search(rf"{server.ports['--port']}.*--port", capsys.readouterr().err)


def test_without_postgresql_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("contrastmask.tracking.postgres.DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["serve", "--folder", str(tmp_path / "server")]) == 2
    assert "apt-get install postgresql" in capsys.readouterr().err and not (tmp_path / "server").exists()


def test_a_log_in_needs_a_server_and_a_name_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "alice", "--folder", str(tmp_path)]) == 2
    assert "start one" in capsys.readouterr().err
    for name in ("../alice", "admin", "", "a b"):
        assert main(["user", name, "--folder", str(tmp_path)]) == 2
        assert "cannot be a log-in" in capsys.readouterr().err
    Place(tmp_path).secrets.mkdir()
    tracking_server.write_credentials(Place(tmp_path).credentials("admin"), "admin", "x")
    Place(tmp_path).url.write_text(f"http://127.0.0.1:{free_port()}")
    assert main(["user", "alice", "--folder", str(tmp_path)]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has the database run as somebody else")
def test_as_root_a_folder_that_the_database_cannot_enter_is_named(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o700)
    assert main(["serve", "--folder", str(tmp_path / "server")]) == 2
    assert "cannot pass" in capsys.readouterr().err and not (tmp_path / "server").exists()


def test_doors() -> None:
    assert doors("127.0.0.1", 5000, ()) == []
    with pytest.raises(ServerError, match="--names"):
        doors("0.0.0.0", 5000, ())
    hosts, origins = (set(option.split(",")) for option in doors("10.0.0.5", 5000, ("lab", "fd00::1"))[1::2])
    assert {"10.0.0.5", "10.0.0.5:5000", "lab:5000", "[fd00::1]:5000", "localhost:*"} <= hosts
    assert {"http://10.0.0.5:5000", "https://lab", "http://[fd00::1]:5000"} <= origins
    assert not [entry for entry in hosts | origins if entry == "*"]


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("lab", False)],
)
def test_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local


def test_passwords_of_addresses_are_not_shown() -> None:
    assert shown("at postgresql+psycopg2://me:s3:c@ret@host:5432/db now") == (
        "at postgresql+psycopg2://me:***@host:5432/db now"
    )
    assert shown("http://host:5000/a@b") == "http://host:5000/a@b"
