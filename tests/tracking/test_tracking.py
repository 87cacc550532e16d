"""Tracking against real MLflow SQLite stores: status, resumes, parallel runs, outages, rebuilds."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from contrastmask.runtime.locks import Interrupted, RunLock
from contrastmask.tracking.spool import Spool
from contrastmask.tracking.tracking import (
    LOCK_NAME,
    StoreError,
    Tracker,
    ensure_store,
    main,
    reap,
    sync,
    throttle,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
EXPERIMENT = "contrastmask/smoke"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables; making one takes seconds, copying one does not."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    ensure_store(f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never write to a server that whoever runs the tests uses."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def results(tmp_path: Path, empty_store: Path) -> Path:
    """A result folder with a store."""
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def work(results: Path, run: str = "cm-r50") -> Path:
    return results / "smoke" / "runs" / run / "seed0" / "work"


def tracker(results: Path, run: str = "cm-r50", **options: float) -> Tracker:
    uri = tracking_uri(results)
    return Tracker(
        work(results, run), experiment=EXPERIMENT, run_name=f"{run}/seed0", uri=uri, **{"interval": 600.0, **options}
    )


def client(results: Path) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(results))


def runs(results: Path) -> list[Run]:
    mlflow = client(results)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    return list(mlflow.search_runs([experiment.experiment_id])) if experiment else []


def only_run(results: Path) -> Run:
    (run,) = runs(results)
    return run


def curve(results: Path, run: Run, key: str = "loss") -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client(results).get_metric_history(run.info.run_id, key)]


def value(step: int) -> float:
    """Needs all 17 digits."""
    return math.exp(-step / 7) / 3


def train(tracking: Tracker, steps: range, iteration: int = 0) -> None:
    with tracking.session("train", iteration):
        for step in steps:
            tracking.metrics({"loss": value(step)}, step)


TRAINER = f"""
import math, sys, time
from pathlib import Path
from contrastmask.runtime.locks import Interrupted, RunLock, on_signals
from contrastmask.tracking.tracking import LOCK_NAME, Tracker, tracking_uri
results, run, steps, mode = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
work = results / "smoke" / "runs" / run / "seed0" / "work"
with RunLock(work / LOCK_NAME), on_signals() as stop:
    tracker = Tracker(work, experiment="{EXPERIMENT}", run_name=run + "/seed0", uri=tracking_uri(results), interval=1)
    with tracker.session("train"):
        for step in range(1, steps + 1):
            tracker.metrics({{"loss": math.exp(-step / 7) / 3}}, step)
        print("ready", flush=True)
        while mode == "wait":
            time.sleep(0.01)
            if stop.requested:
                raise Interrupted(stop.signum)
"""


def start_trainer(results: Path, run: str = "cm-r50", steps: int = 5, mode: str = "wait") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRAINER, str(results), run, str(steps), mode]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


# What a run looks like


def test_a_run_in_full(results: Path) -> None:
    tracking = tracker(results)
    with tracking.session("train"):
        tracking.params({"sigma": 0.7, "method": "contrastmask", "text": "x" * 7000})
        tracking.tags({"git.commit": "abc", "rows": ["table1/r1", "table5/r2"], "bad,name//é": 1})
        tracking.dataset("synthetic", "d" * 40, "results/smoke/data/train.json", "training")
        tracking.text("config.json", '{"sigma": 0.7}')
        for step in range(1, 1203):
            tracking.metrics({"loss": value(step), "lr": 0.01 / step}, step)
    run = only_run(results)
    assert run.info.status == "FINISHED" and run.info.run_name == "cm-r50/seed0"
    assert run.data.params["sigma"] == "0.7" and len(run.data.params["text"]) == 6000
    assert run.data.tags["rows"] == "['table1/r1', 'table5/r2']" and run.data.tags["bad_name/é"] == "1"
    assert curve(results, run) == [(step, value(step)) for step in range(1, 1203)]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("synthetic", "d" * 36)
    assert data.tags[0].value == "training"
    artefacts = results / "mlartifacts" / EXPERIMENT / run.info.run_id / "artifacts"
    assert (artefacts / "config.json").read_text() == '{"sigma": 0.7}'


def test_training_imports_no_mlflow_in_its_thread(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from contrastmask.tracking.tracking import Tracker\n"
        f"t = Tracker(pathlib.Path({str(tmp_path)!r}), experiment='e', run_name='r', uri='sqlite:////nowhere/x.db')\n"
        "t.metrics({'loss': 1.0}, 1); assert not {'mlflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_evaluation_joins_the_run_and_its_results_can_be_corrected(results: Path) -> None:
    train(tracker(results), range(1, 4))
    for ap in (0.25, 0.25, 0.5):
        tracking = tracker(results)
        with tracking.session("evaluate"):
            tracking.metrics({"novel/segm_AP": ap}, 3, final=True)
    run = only_run(results)
    assert run.info.status == "FINISHED" and "resumes" not in run.data.tags
    assert curve(results, run, "novel/segm_AP") == [(3, 0.25), (3, 0.5)]
    assert run.data.metrics["novel/segm_AP"] == 0.5


def test_values_that_are_no_numbers(results: Path) -> None:
    tracking = tracker(results)
    with tracking.session("train"):
        for step, loss in enumerate([1.0, math.nan, math.inf, -math.inf, 2.0], start=1):
            tracking.metrics({"loss": loss}, step)
    lines = tracking.spool.path.read_text().splitlines()
    values = [e["values"]["loss"] for e in map(json.loads, lines) if e["event"] == "metrics"]
    assert values == [1.0, "nan", "inf", "-inf", 2.0]
    run = only_run(results)
    assert [(step, math.isnan(v)) for step, v in curve(results, run)] == [
        (1, False), (2, True), (3, True), (4, True), (5, False),
    ]  # fmt: skip
    assert run.data.tags["nonfinite.loss"] == "nan at step 2"


@pytest.mark.parametrize("total", [1, 5, 1999, 2000, 2001, 3999, 4001, 90_000])
def test_throttle(total: int) -> None:
    kept = [step for step in range(1, total + 1) if throttle(step, total)]
    assert kept[-1] == total and min(total, 1000) <= len(kept) <= 2000


# Status is true however a run ends


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("loss is nan"), "FAILED"),
        (SystemExit(1), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (Interrupted(signal.SIGTERM), "KILLED"),
        (SystemExit(143), "KILLED"),
    ],
)
def test_status_after_an_exception(results: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), tracker(results).session("train"):
        raise error
    run = only_run(results)
    assert run.info.status == status
    assert run.data.tags.get("last_error") == (f"{type(error).__name__}: {error}" if status == "FAILED" else None)


def test_sigterm(results: Path) -> None:
    process = start_trainer(results)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    sync(results)
    run = only_run(results)
    assert run.info.status == "KILLED" and len(curve(results, run)) == 5


def test_sigkill_then_reap_then_resume(results: Path) -> None:
    process = start_trainer(results)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert reap(results) == 0  # it lives
    process.kill()
    process.wait()
    sync(results)
    run = only_run(results)
    assert run.info.status == "RUNNING"
    assert reap(results) == 1 and reap(results) == 0
    sync(results)
    assert only_run(results).info.status == "KILLED" and only_run(results).data.tags["reaped"]

    train(tracker(results), range(4, 9), iteration=3)
    resumed = only_run(results)
    assert resumed.info.run_id == run.info.run_id and resumed.info.status == "FINISHED"
    assert curve(results, resumed) == [(step, value(step)) for step in range(1, 9)]
    assert (resumed.data.tags["resumes"], resumed.data.tags["resumed_at"]) == ("1", "3")


def test_resume_keeps_parameters_and_reports_changes(results: Path) -> None:
    for sigma in (0.7, 0.5):
        tracking = tracker(results)
        with pytest.raises(RuntimeError), tracking.session("train"):
            tracking.params({"sigma": sigma, "tau": 0.7} | ({"delta": 0.1} if sigma == 0.5 else {}))
            raise RuntimeError("stop")
    run = only_run(results)
    assert run.data.params == {"sigma": "0.7", "tau": "0.7", "delta": "0.1"}
    assert run.data.tags["param_changed.sigma"] == "0.5" and "param_changed.tau" not in run.data.tags


# The store fails, the training does not


def break_by_lock(results: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(results / "mlflow.db")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def refuse_writes(results: Path) -> None:
    """As a read-only file does, but for root as well."""
    with sqlite3.connect(results / "mlflow.db") as connection:
        abort = "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        connection.execute(f"CREATE TRIGGER broken BEFORE INSERT ON metrics {abort}")


def allow_writes(results: Path) -> None:
    with sqlite3.connect(results / "mlflow.db") as connection:
        connection.execute("DROP TRIGGER broken")


def test_a_store_that_refuses_writes(results: Path, caplog: pytest.LogCaptureFixture) -> None:
    refuse_writes(results)
    tracking = tracker(results, interval=0.05)
    with tracking.session("train"):
        for step in range(1, 21):
            tracking.metrics({"loss": value(step)}, step)
            time.sleep(0.1)
    warnings = [r for r in caplog.records if r.name.startswith("contrastmask") and r.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "readonly" in warnings[0].getMessage()  # once per outage
    allow_writes(results)
    sync(results)
    assert curve(results, only_run(results)) == [(step, value(step)) for step in range(1, 21)]
    assert only_run(results).info.status == "FINISHED"


def test_an_outage_ends_during_the_training(results: Path) -> None:
    refuse_writes(results)
    tracking = tracker(results, interval=0.05)
    with tracking.session("train"):
        tracking.metrics({"loss": value(1)}, 1)
        time.sleep(1)
        allow_writes(results)
        tracking.metrics({"loss": value(2)}, 2)
    assert curve(results, only_run(results)) == [(1, value(1)), (2, value(2))]


def test_a_locked_store_does_not_hold_up_the_end(results: Path) -> None:
    connection = break_by_lock(results)
    start = time.monotonic()
    train(tracker(results, close_timeout=1.0), range(1, 4))
    assert time.monotonic() - start < 5
    connection.close()
    sync(results)
    assert only_run(results).info.status == "FINISHED" and len(curve(results, only_run(results))) == 3


def test_a_folder_that_cannot_be_made(results: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    blocked = results.parent / "file" / "mlflow.db"
    blocked.parent.write_text("in the way")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{blocked}")
    train(tracker(results), range(1, 4))
    assert main(["sync", "--results", str(results)]) == 1
    assert str(blocked) in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync", "--results", str(results)]) == 0
    assert "1 runs" in capsys.readouterr().out
    assert len(curve(results, only_run(results))) == 3


def test_a_misspelt_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sync", "--results", str(tmp_path / "resluts")])
    assert caught.value.code == 2 and "resluts" in capsys.readouterr().err
    assert not (tmp_path / "resluts").exists()


def test_a_server_that_is_down(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    train(tracker(results, close_timeout=2.0), range(1, 4))
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9"):
        sync(results)


def test_a_store_of_another_version(results: Path) -> None:
    with sqlite3.connect(results / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(StoreError, match="mlflow db upgrade sqlite"):
        ensure_store(tracking_uri(results))


# MLflow can be rebuilt, and nothing comes twice


def test_a_deleted_database_is_rebuilt_from_the_spools(results: Path, empty_store: Path) -> None:
    for run in ("a", "b"):
        train(tracker(results, run), range(1, 30))
    before = {run.info.run_name: curve(results, run) for run in runs(results)}
    shutil.copy(empty_store, results / "mlflow.db")
    assert runs(results) == []
    assert sync(results).runs == 2
    assert {run.info.run_name: curve(results, run) for run in runs(results)} == before
    assert {run.info.status for run in runs(results)} == {"FINISHED"}
    assert sync(results).lines == 0


def test_a_database_deleted_during_the_training(results: Path) -> None:
    tracking = tracker(results, interval=0.2)
    with tracking.session("train"):
        tracking.metrics({"loss": value(1)}, 1)
        time.sleep(1.5)
        assert len(runs(results)) == 1
        (results / "mlflow.db").unlink()
        tracking.metrics({"loss": value(2)}, 2)
    sync(results)
    assert curve(results, only_run(results)) == [(1, value(1)), (2, value(2))]


def test_a_crash_between_sending_and_noting_it(results: Path) -> None:
    tracking = tracker(results)
    train(tracking, range(1, 5))
    tracking.spool.path.with_name("tracking.offset.json").unlink()
    assert sync(results).lines > 0
    assert curve(results, only_run(results)) == [(step, value(step)) for step in range(1, 5)]


def test_a_torn_line_and_a_resume(results: Path) -> None:
    tracking = tracker(results)
    train(tracking, range(1, 5))
    with tracking.spool.path.open("ab") as file:
        file.write(b'{"event":"metrics","step":5,"val')
    train(tracker(results), range(3, 8), iteration=2)
    assert curve(results, only_run(results)) == [(step, value(step)) for step in range(1, 8)]


def test_a_run_deleted_in_mlflow_stays_deleted(results: Path) -> None:
    train(tracker(results), range(1, 3))
    client(results).delete_run(only_run(results).info.run_id)
    train(tracker(results), range(3, 5), iteration=2)
    assert sync(results).failed == [] and runs(results) == []


def test_a_new_run_in_an_old_folder_is_a_new_run(results: Path) -> None:
    train(tracker(results), range(1, 3))
    (work(results) / "tracking.jsonl").unlink()
    train(tracker(results), range(1, 3))
    assert len(runs(results)) == 2


def test_eight_processes_make_the_store_and_lose_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    names = [f"run{i}" for i in range(8)]
    processes = [start_trainer(results, name, 200, "end") for name in names]
    assert [process.wait(timeout=150) for process in processes] == [0] * 8
    sync(results)  # whatever a slow machine left at the end of its process
    found = runs(results)
    assert sorted(run.info.run_name for run in found) == [f"{name}/seed0" for name in names]
    assert {run.info.status for run in found} == {"FINISHED"}
    expected = [(step, value(step)) for step in range(1, 201)]
    assert all(curve(results, run) == expected for run in found)


def test_a_live_trainer_and_sync_together(results: Path) -> None:
    tracking = tracker(results, interval=0.01)
    with tracking.session("train"):
        for step in range(1, 60):
            tracking.metrics({"loss": value(step)}, step)
            if step % 10 == 0:
                sync(results)
    assert curve(results, only_run(results)) == [(step, value(step)) for step in range(1, 60)]


def test_the_ui_is_a_server_that_trainings_can_use_and_that_ctrl_c_ends(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    train(tracker(results, "a"), range(1, 3))
    command = [sys.executable, "-m", "contrastmask.tracking.tracking", "ui", "--results", results, "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health")
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        train(tracker(results, "b"), range(1, 30))
        assert {run.info.run_name: run.info.status for run in runs(results)} == dict.fromkeys(
            ("a/seed0", "b/seed0"), "FINISHED"
        )
        (run_b,) = (run for run in runs(results) if run.info.run_name == "b/seed0")
        assert curve(results, run_b) == [(step, value(step)) for step in range(1, 30)]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def wait_for_server(url: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


def test_reap_leaves_held_and_finished_runs_alone(results: Path) -> None:
    train(tracker(results, "done"), range(1, 3))
    session = tracker(results, "busy").session("train")
    session.__enter__()  # and never left, as after a SIGKILL
    with RunLock(work(results, "busy") / LOCK_NAME):
        assert reap(results) == 0
    assert reap(results) == 1
    assert Spool(work(results, "busy") / "tracking.jsonl").state().status == "KILLED"


def test_tracking_uri_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Path("results")) == f"sqlite:///{os.path.realpath(tmp_path)}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///my.db")
    assert tracking_uri(Path("results")) == f"sqlite:///{os.path.realpath(tmp_path)}/my.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri(Path("results")) == "http://host:5000"
