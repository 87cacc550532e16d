"""The server of compose.yaml, without its containers: Debian's PostgreSQL, MLflow's server and its log-ins.

The command, the settings and the file of the log-ins are those of compose.yaml; only addresses and folders differ.
"""

import math
import multiprocessing
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
import yaml
from waiting import free_port, until

from contrastmask.tracking.curves import Curves, read_curves
from contrastmask.tracking.store import StoreError, connect
from contrastmask.tracking.sync import live, sync

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SECRETS = {"POSTGRES_PASSWORD": "p" * 24, "MLFLOW_ADMIN_PASSWORD": "a" * 24, "MLFLOW_COOKIE_KEY": "c" * 24}
RUNS = [f"run{i}" for i in range(8)]
EARLY = RUNS[:2]  # these end while the server is down
fork = multiprocessing.get_context("fork")


def fill_in(text: str, settings: dict[str, str]) -> str:
    """What compose does to ${NAME}, ${NAME:?why}, ${NAME:-default} and ${NAME:+text}."""

    def one(found: re.Match[str]) -> str:
        name, sign, other = found[1], found[2], found[3] or ""
        value = settings.get(name, "")
        if sign == ":+":
            return other if value else ""
        assert value or sign != ":?", f"{name}: {other}"
        return value or other

    return re.sub(r"\$\{(\w+)(?:(:[-?+])([^}]*))?\}", one, text)


# ---------------------------------------------------------------------------- the two servers


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs: Debian's newest, or on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    program = found[-1] if found else shutil.which("initdb")
    if program is None:
        reason = "PostgreSQL is not there: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CONTRASTMASK_POSTGRES") == "required" else pytest.skip(reason)
    return Path(program).parent


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of a PostgreSQL with an empty database `mlflow`, whose owner has a password."""
    import psycopg2

    programs, port = postgres_programs(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="contrastmask-postgres-"))  # a folder that the database's user may enter
    (folder / "password").write_text(SECRETS["POSTGRES_PASSWORD"])
    as_owner = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
    data = folder / "data"
    options = ["--auth=scram-sha-256", "--username=mlflow", f"--pwfile={folder / 'password'}"]
    subprocess.run([*as_owner, programs / "initdb", "-D", data, *options], check=True, cwd="/", capture_output=True)
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    process = subprocess.Popen(
        [*as_owner, programs / "postgres", "-D", data, *options], cwd="/", stderr=subprocess.DEVNULL
    )

    def create() -> bool:
        try:
            connection = psycopg2.connect(**login(port, "postgres"))
        except psycopg2.OperationalError:
            return False
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE mlflow")
        connection.close()
        return True

    try:
        until(create)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder)


def login(port: int, database: str) -> dict[str, object]:
    password = SECRETS["POSTGRES_PASSWORD"]
    return {"host": "127.0.0.1", "port": port, "user": "mlflow", "dbname": database, "password": password}


class Server:
    """MLflow as compose.yaml starts it."""

    def __init__(self, folder: Path, database: int) -> None:
        self.port, self.log, self.database = free_port(), folder / "log", database
        self.url = f"http://127.0.0.1:{self.port}"
        service = COMPOSE["services"]["mlflow"]
        here = {"0.0.0.0": "127.0.0.1", "5000": str(self.port), "/artifacts": str(folder / "artifacts")}
        here |= {"database:5432": f"127.0.0.1:{database}"}

        def local(text: str) -> str:
            return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)

        self.command = [sys.executable, *(local(word) for word in service["command"][1:])]
        (folder / "auth.ini").write_text(local(COMPOSE["configs"]["auth"]["content"]))
        names = SECRETS | {"MLFLOW_NAMES": "tracking.test", "MLFLOW_ORIGINS": "https://tracking.test"}
        settings = {key: fill_in(value, names) for key, value in service["environment"].items()}
        self.environment = os.environ | settings | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)
        until(self.answers)

    def answers(self) -> bool:
        assert self.process and self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def server(database: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), database)
    try:
        server.start()
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.stop()


def add_user(server: Server, name: str) -> tuple[str, str]:
    """A log-in, made by the administrator."""
    user = {"username": name, "password": name * 8}
    admin = ("admin", SECRETS["MLFLOW_ADMIN_PASSWORD"])
    made = requests.post(f"{server.url}/api/2.0/mlflow/users/create", json=user, auth=admin, timeout=30)
    assert made.ok or made.json()["error_code"] == "RESOURCE_ALREADY_EXISTS", made.text
    return user["username"], user["password"]


@pytest.fixture
def home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder whose ~/.mlflow/credentials are a user's, and runs that go to the server."""
    user, password = add_user(server, "alice")
    credentials = tmp_path / "home" / ".mlflow" / "credentials"
    credentials.parent.mkdir(parents=True)
    credentials.write_text(f"[mlflow]\nmlflow_tracking_username = {user}\nmlflow_tracking_password = {password}\n")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return tmp_path / "home"


# ---------------------------------------------------------------------------- nothing is lost


def write(folder: Path) -> None:
    """What a training does until the file `finish` is there."""
    curves = Curves(folder, folder.parent.name)
    with live(folder, interval=0.5), curves.session("train"):
        curves.params({"run": folder.parent.name, "lr": 0.02})
        curves.tags({"git.commit": "abc"})
        curves.dataset("synthetic", "d" * 32, "train.json", "training")
        curves.text("config.json", folder.parent.name * 1000)
        step = 0
        while not (folder / "finish").exists():
            step += 1
            curves.metrics({"train/loss": math.exp(-step / 7) / 3, "train/lr": 0.02 / step}, step)
            time.sleep(0.02)


def steps_of(folder: Path) -> int:
    return len(read_curves(folder).get("loss", ()))


def query(port: int, sql: str) -> list[tuple]:
    import psycopg2

    connection = psycopg2.connect(**login(port, "mlflow"))
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def test_eight_runs_while_the_server_is_stopped_and_started(server: Server, home: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    folders = {run: results / "smoke" / "runs" / run / "seed0" for run in RUNS}
    late = [folders[run] for run in RUNS if run not in EARLY]
    connect(server.url)  # MLflow is imported before the processes are forked
    writers = {run: fork.Process(target=write, args=(folder,)) for run, folder in folders.items()}
    try:
        for writer in writers.values():
            writer.start()
        until(lambda: all((folder / "work" / "mlflow.json").exists() for folder in folders.values()))
        server.stop()
        at_stop = {folder: steps_of(folder) for folder in folders.values()}
        for run in EARLY:
            (folders[run] / "finish").touch()
        until(lambda: all(steps_of(folder) > at_stop[folder] + 50 for folder in late))
        for run in EARLY:
            writers[run].join(120)
        server.start()
        at_start = {folder: steps_of(folder) for folder in folders.values()}
        until(lambda: all(steps_of(folder) > at_start[folder] + 50 for folder in late))
        for run in RUNS:
            (folders[run] / "finish").touch()
        for writer in writers.values():
            writer.join(120)
        assert [writer.exitcode for writer in writers.values()] == [0] * len(RUNS)
    finally:
        for writer in writers.values():
            writer.kill()
    until(lambda: not sync(results).failed)  # a busy server lets one wait past the client's time limit
    assert_complete(server, folders)
    points = 2 * sum(steps_of(folder) for folder in folders.values())
    down = 2 * sum(at_start[folder] - at_stop[folder] for folder in folders.values())
    print(f"{points} points of {len(RUNS)} runs, {down} of them written while the server was down")
    assert query(server.database, "SELECT count(*) FROM metrics") == [(points,)]
    assert query(server.database, "SELECT count(*) FROM runs") == [(len(RUNS),)]
    assert sync(results).lines == 0


def assert_complete(server: Server, folders: dict[str, Path]) -> None:
    """Every run is there once, with every point, parameter, tag, data set and artifact."""
    client = connect(server.url)
    experiment = client.get_experiment_by_name("contrastmask/smoke")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(found) == RUNS
    for name, run in found.items():
        steps = range(1, steps_of(folders[name]) + 1)
        loss, lr = (client.get_metric_history(run.info.run_id, f"train/{key}") for key in ("loss", "lr"))
        assert [(point.step, point.value) for point in loss] == [(step, math.exp(-step / 7) / 3) for step in steps]
        assert [(point.step, point.value) for point in lr] == [(step, 0.02 / step) for step in steps]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"run": name, "lr": "0.02"} and run.data.tags["git.commit"] == "abc"
        assert [data.dataset.digest for data in run.inputs.dataset_inputs] == ["d" * 32]
        local = client.download_artifacts(run.info.run_id, "config.json", str(folders[name]))
        assert Path(local).read_text() == name * 1000


# ---------------------------------------------------------------------------- who gets in


@pytest.mark.parametrize("login", [None, ("alice", "wrong"), ("admin", "password1234")])
def test_nobody_gets_in_without_a_log_in(server: Server, login: tuple[str, str] | None) -> None:
    for path in ("/", "/api/2.0/mlflow/experiments/search", "/api/2.0/mlflow-artifacts/artifacts"):
        assert requests.get(server.url + path, auth=login, timeout=30).status_code == 401


def test_a_run_without_a_log_in_is_told_so(server: Server, home: Path) -> None:
    connect(server.url)
    (home / ".mlflow" / "credentials").unlink()
    with pytest.raises(StoreError, match="wants a log-in"):
        connect(server.url)


def test_users_read_and_write_each_others_runs_and_do_not_delete_them(server: Server) -> None:
    alice, bob = add_user(server, "alice"), add_user(server, "bob")
    api = f"{server.url}/api/2.0/mlflow"
    made = requests.post(f"{api}/experiments/create", json={"name": "of-alice"}, auth=alice, timeout=30).json()
    ids = {"experiment_id": made["experiment_id"]}
    assert requests.post(f"{api}/runs/create", json=ids, auth=bob, timeout=30).status_code == 200
    assert requests.post(f"{api}/experiments/delete", json=ids, auth=bob, timeout=30).status_code == 403
    users = requests.post(f"{api}/users/create", json={"username": "x", "password": "y" * 20}, auth=bob, timeout=30)
    assert users.status_code == 403
    admin = ("admin", SECRETS["MLFLOW_ADMIN_PASSWORD"])
    assert requests.get(f"{server.url}/signup", auth=admin, timeout=30).status_code == 200


def test_only_its_own_names_and_pages_may_ask(server: Server) -> None:
    alice = add_user(server, "alice")
    search = f"{server.url}/api/2.0/mlflow/experiments/search"

    def ask(**headers: str) -> int:
        return requests.post(search, json={"max_results": 1}, auth=alice, headers=headers, timeout=30).status_code

    assert {ask(), ask(Host="tracking.test"), ask(Host="tracking.test", Origin="https://tracking.test")} == {200}
    assert {ask(Host="elsewhere.test"), ask(Origin="http://elsewhere.test")} == {403}


def test_passwords_are_in_no_command_line_and_no_log(server: Server) -> None:
    assert server.process
    family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    said = " ".join(word for process in family for word in process.cmdline()) + server.log.read_text()
    assert "mlflow" in said and not [secret for secret in SECRETS.values() if secret in said]


# ---------------------------------------------------------------------------- the compose file itself


def test_it_is_for_this_machine_unless_told_and_starts_with_no_secret_missing() -> None:
    mlflow, database = COMPOSE["services"]["mlflow"], COMPOSE["services"]["database"]
    assert [fill_in(port, {}) for port in mlflow["ports"]] == ["127.0.0.1:5000:5000"] and "ports" not in database
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", database["image"])
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert asked == set(SECRETS) and all(f"\n{name}=\n" in example for name in asked)
