"""The curves file of a run, and MLflow kept up to date with it: true status, resumes, parallel runs, outages, rebuilds.

Tests share one result folder and one SQLite store, whose making takes seconds: each has an experiment of its own. What
breaks a store breaks a copy. Processes are forked from this one, which has imported MLflow already.
"""

import errno
import json
import logging
import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import free_port, until

from contrastmask.errors import Failed
from contrastmask.runtime.locks import Interrupted, RunLock, on_signals
from contrastmask.tracking import store
from contrastmask.tracking import sync as sync_module
from contrastmask.tracking.curves import LOCK_NAME, NAME, Curves, end_if_killed, read_curves, read_events, set_aside
from contrastmask.tracking.sending import _send_new, mlflow_run, send, send_tables
from contrastmask.tracking.store import StoreError, connect, tracking_uri, without_password
from contrastmask.tracking.sync import live, sync

if TYPE_CHECKING:
    from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never write to a server that whoever runs the tests uses."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder with a store."""
    results = tmp_path_factory.mktemp("shared")
    connect(f"sqlite:///{results / 'mlflow.db'}")
    return results


@pytest.fixture
def folder(shared: Path, request: pytest.FixtureRequest) -> Path:
    """Of a run, in an experiment of its own."""
    return shared / request.node.name.replace("[", "-").rstrip("]") / "runs" / "cm-r50" / "seed0"


@pytest.fixture
def results(tmp_path: Path, shared: Path) -> Path:
    """A result folder with a store of its own, to be broken."""
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(shared / "mlflow.db", folder / "mlflow.db")
    return folder


def run_in(results: Path, run: str = "cm-r50", seed: int = 0) -> Path:
    return results / "smoke" / "runs" / run / f"seed{seed}"


def sent(folder: Path) -> int:
    """Send one run; number of lines."""
    uri = tracking_uri(folder.parents[3])
    return send(connect(uri), uri, folder)


def runs(folder: Path) -> "list[Run]":
    """All runs of the experiment that the run in `folder` belongs to."""
    client = connect(tracking_uri(folder.parents[3]))
    experiment = client.get_experiment_by_name(f"contrastmask/{folder.parents[2].name}")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def only_run(folder: Path) -> "Run":
    (run,) = runs(folder)
    return run


def curve(folder: Path, run: "Run | None" = None, key: str = "train/loss") -> list[tuple[int, float]]:
    client = connect(tracking_uri(folder.parents[3]))
    return [(m.step, m.value) for m in client.get_metric_history((run or only_run(folder)).info.run_id, key)]


def value(step: int) -> float:
    """Needs all 17 digits."""
    return math.exp(-step / 7) / 3


def points(*steps: int) -> list[tuple[int, float]]:
    return [(step, value(step)) for step in steps]


def train(folder: Path, steps: range, iteration: int = 0) -> None:
    curves = Curves(folder)
    with curves.session("train", iteration):
        for step in steps:
            curves.metrics({"train/loss": value(step)}, step)


def events(folder: Path) -> list[dict]:
    return [event for event, _ in read_events(folder / NAME)]


# ---------------------------------------------------------------------------- the file


NUMBERS = st.dictionaries(st.text(max_size=5), st.floats() | st.integers(0, 2**53), max_size=3)


@settings(max_examples=25)
@given(st.lists(NUMBERS, min_size=1, max_size=5), st.floats(0, 1))
def test_every_value_comes_back_exactly_and_any_truncation_costs_only_its_end(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict], cut: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    curves = Curves(folder)
    curves.tags({"a": "b"})
    for step, numbers in enumerate(values):
        curves.metrics(numbers, step)
    whole = events(folder)
    stored = [{k: float(v) for k, v in e["values"].items()} for e in whole if e["event"] == "metrics"]
    assert repr(stored) == repr([{k: float(v) for k, v in numbers.items()} for numbers in values if numbers])
    content = curves.path.read_bytes()
    size = round(cut * len(content))
    curves.path.write_bytes(content[:size])
    kept = content[:size].count(b"\n")
    assert events(folder) == whole[:kept]
    Curves(folder).metrics({"after": 1.0}, 99)
    # A cut just before a line's end leaves a whole object, which the next writer's line end brings back.
    again = [event for event in events(folder) if event in whole]
    assert again in (whole[:kept], whole[: kept + 1]) and events(folder)[-1]["values"] == {"after": 1.0}


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_line_with_a_wrong_byte_is_skipped(tmp_path_factory: pytest.TempPathFactory, place: int, byte: int) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    train(folder, range(1, 4))
    whole, content = events(folder), bytearray((folder / NAME).read_bytes())
    content[place % len(content)] = byte
    (folder / NAME).write_bytes(content)
    found = events(folder)
    assert len(whole) - 2 <= len(found) and all(event in whole for event in found)
    train(folder, range(4, 6))
    assert read_curves(folder)["loss"][-2:] == points(4, 5)


def test_other_things_in_the_file_are_skipped(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    curves.tags({"n": 1})
    with curves.path.open("ab") as file:
        file.write(b'\0\0\0\n[1]\n\xff\xfe\n{}\n{"event":"tags","values":{"n":"2"},"crc":1}\n' + b"[" * 99_999 + b"\n")
    curves.tags({"n": 3})
    assert [event["values"]["n"] for event in events(tmp_path)[1:]] == ["1", "3"]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    curves, write, room = Curves(tmp_path), os.write, 40

    def short_write(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(fd, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", short_write)
    for n in range(3):
        curves.tags({"n": n})
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    room = 10_000
    curves.tags({"n": 3})
    assert [event["values"]["n"] for event in events(tmp_path)[1:]] == ["0", "1", "2", "3"]


def test_curves_are_those_of_the_training_with_the_last_value_of_a_step(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    curves = Curves(tmp_path)
    curves.metrics({"train/loss": 3.0}, 1)
    curves.metrics({"train/loss": 2.0, "segm/novel/AP": 0.1}, 2)
    curves.metrics({"train/loss": 1.5}, 2, final=True)
    curves.metrics({"train/loss": math.inf}, 3)
    curves.metrics({"train/loss": 9.0}, 2)
    assert read_curves(tmp_path) == {"loss": [(1, 3.0), (2, 1.5), (3, math.inf)]}


def test_a_training_of_something_else_begins_a_new_record(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    old = Curves(tmp_path)
    old.tags({"config.hash": "a"})
    old.metrics({"train/loss": 1.0}, 9)
    set_aside(tmp_path, {"config.hash": "a"})
    assert read_curves(tmp_path) == {"loss": [(9, 1.0)]}
    set_aside(tmp_path, {"config.hash": "b"})
    Curves(tmp_path).metrics({"train/loss": 2.0}, 3)
    assert read_curves(tmp_path) == {"loss": [(3, 2.0)]} and Curves(tmp_path).id != old.id
    assert (tmp_path / "work" / f"curves-{old.id}.jsonl").exists()
    known = SimpleNamespace(data=SimpleNamespace(tags={"contrastmask.run": old.id}))
    assert _send_new(None, "", known, tmp_path / NAME) == 0  # type: ignore[arg-type]  # it found the old one


def test_training_imports_no_mlflow_in_its_thread(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from contrastmask.tracking.sync import live\n"
        "from contrastmask.tracking.curves import Curves\n"
        f"folder = pathlib.Path({str(tmp_path)!r}, 'results/a/runs/b/seed0')\n"
        "with live(folder, end=0): Curves(folder).metrics({'loss': 1.0}, 1)\n"
        "assert not {'mlflow.tracking.client', 'torch'} & set(sys.modules)"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": "sqlite:////proc/nowhere/x.db"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)


# ---------------------------------------------------------------------------- what a run looks like


def test_a_run_in_full(folder: Path) -> None:
    curves = Curves(folder, "a title")
    with curves.session("train"):
        curves.params({"sigma": 0.7, "method": "contrastmask", "text": "x" * 7000})
        curves.tags({"git.commit": "abc", "source": "contrastmask", "description": "*note*", "bad,name//é": 1})
        curves.tags({"rows": ["table1/r1", "table5/r2"], "half": "\udc80"})
        curves.dataset("synthetic", "d" * 40, "results/smoke/data/train.json", "training")
        curves.text("config.json", '{"sigma": 0.7}')
        curves.table("per_category.json", [{"name": "cup", "segm_AP": 0.5}, {"name": "fork", "segm_AP": None}])
        for step in range(1, 1203):
            curves.metrics({"train/loss": value(step), "train/lr": 0.01 / step}, step)
    sent(folder)
    run = only_run(folder)
    assert run.info.status == "FINISHED" and run.info.run_name == "a title"
    assert run.data.params["sigma"] == "0.7" and len(run.data.params["text"]) == 6000
    assert run.data.tags["rows"] == "['table1/r1', 'table5/r2']" and run.data.tags["bad_name/é"] == "1"
    known = {"source.git.commit": "abc", "source.name": "contrastmask", "note.content": "*note*"}
    assert {f"mlflow.{key}": text for key, text in known.items()}.items() <= run.data.tags.items()
    assert "mlflow.parentRunId" not in run.data.tags
    assert curve(folder) == points(*range(1, 1203))
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest, data.tags[0].value) == ("synthetic", "d" * 36, "training")
    (files,) = (folder.parents[3] / "mlartifacts" / "contrastmask").glob(f"*/{run.info.run_id}/artifacts")
    assert (files / "config.json").read_text() == '{"sigma": 0.7}'
    table = {"columns": ["name", "segm_AP"], "data": [["cup", 0.5], ["fork", None]]}
    assert json.loads((files / "per_category.json").read_text()) == table
    assert mlflow_run(folder) == (tracking_uri(folder.parents[3]), run.info.run_id)
    assert str(folder.parents[3]) not in run.info.artifact_uri  # so results may move


def test_evaluation_joins_the_run_and_its_results_can_be_corrected(folder: Path) -> None:
    train(folder, range(1, 4))
    for ap in (0.25, 0.25, 0.5):
        curves = Curves(folder)
        with curves.session("evaluate"):
            curves.metrics({"novel/segm_AP": ap}, 3, final=True)
        sent(folder)
    run = only_run(folder)
    assert run.info.status == "FINISHED" and "resumes" not in run.data.tags
    assert curve(folder, key="novel/segm_AP") == [(3, 0.25), (3, 0.5)]
    assert run.data.metrics["novel/segm_AP"] == 0.5


def test_values_that_are_no_numbers(folder: Path) -> None:
    curves = Curves(folder)
    for step, loss in enumerate([1.0, math.nan, math.inf, -math.inf, 2.0], start=1):
        curves.metrics({"train/loss": loss}, step)
    assert [e["values"]["train/loss"] for e in events(folder)[1:]] == [1.0, "nan", "inf", "-inf", 2.0]
    sent(folder)
    flags = [(1, False), (2, True), (3, True), (4, True), (5, False)]
    assert [(step, math.isnan(v)) for step, v in curve(folder)] == flags
    assert only_run(folder).data.tags["nonfinite.train/loss"] == "nan at step 2"


def test_seeds_of_a_run_have_one_parent(shared: Path, folder: Path) -> None:
    for seed in range(3):
        train(folder.with_name(f"seed{seed}"), range(1, 3))
        for earlier in range(seed + 1):
            sent(folder.with_name(f"seed{earlier}"))
    (parent,) = (run for run in runs(folder) if run.info.run_name == "cm-r50")
    children = [run.data.tags["mlflow.parentRunId"] for run in runs(folder) if run.info.run_id != parent.info.run_id]
    assert parent.info.status == "FINISHED" and children.count(parent.info.run_id) == 3


@pytest.mark.parametrize("elsewhere", [False, True])
def test_tables_and_figures_of_a_scale_are_one_run(results: Path, elsewhere: bool) -> None:
    """Laid beside an SQLite store, or given to whatever keeps the files of an experiment."""
    folder = run_in(results)
    if elsewhere:
        place = str(results / "mlartifacts" / "contrastmask" / "smoke")
        connect(tracking_uri(results)).create_experiment("contrastmask/smoke", place)
    train(folder, range(1, 3))
    scale = folder.parents[2]
    for name, content in (("tables/t.md", "1"), ("tables/t.tex", "1"), ("figures/f.png", "2"), ("claims.md", "3")):
        (scale / name).parent.mkdir(exist_ok=True)
        (scale / name).write_text(content)
    for changed in ("4", "4", "5"):
        (scale / "tables" / "t.md").write_text(changed)
        assert sync(results).failed == []
        (run,) = (run for run in runs(folder) if run.info.run_name == "tables and figures")
        (files,) = (results / "mlartifacts" / "contrastmask" / "smoke").glob(f"{run.info.run_id}/artifacts")
        shown = {str(file.relative_to(files)): file.read_text() for file in files.rglob("*.*")}
        assert shown == {"tables/t.md": changed, "figures/f.png": "2", "claims.md": "3"}
    assert run.info.status == "FINISHED" and len(runs(folder)) == 2


def test_two_result_folders_in_a_store_have_tables_of_their_own(shared: Path, tmp_path: Path) -> None:
    client, uri = connect(tracking_uri(shared)), tracking_uri(shared)
    for name in ("a", "b", "a"):
        table = tmp_path / name / "twice" / "tables" / "t.md"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(name)
        send_tables(client, uri, table.parents[1])
    shown = (shared / "mlartifacts" / "contrastmask" / "twice").glob("*/artifacts/tables/t.md")
    assert sorted(file.read_text() for file in shown) == ["a", "b"]


# ---------------------------------------------------------------------------- status is true however a run ends


def test_status_after_an_exception(folder: Path) -> None:
    ends = [ValueError("loss is nan"), SystemExit(1), KeyboardInterrupt(), Interrupted(signal.SIGTERM), SystemExit(143)]
    for seed, error in enumerate(ends):
        with pytest.raises(type(error)), Curves(folder.with_name(f"seed{seed}")).session("train"):
            raise error
        sent(folder.with_name(f"seed{seed}"))
    found = {run.info.run_name: run for run in runs(folder)}
    ended = [found[f"cm-r50/seed{k}"] for k in range(5)]
    told = [(run.info.status, run.data.tags.get("last_error")) for run in ended]
    failed = [("FAILED", "ValueError: loss is nan"), ("FAILED", "SystemExit: 1")]
    assert told == failed + [("KILLED", None)] * 3


def trainer(folder: Path, steps: int, wait: bool) -> None:
    """What a training does, in a process of its own."""
    with RunLock(folder / "work" / LOCK_NAME), on_signals() as stop:
        curves = Curves(folder)
        with live(folder, interval=1), curves.session("train"):
            for step in range(1, steps + 1):
                curves.metrics({"train/loss": value(step)}, step)
            while wait:
                time.sleep(0.01)
                if stop.requested:
                    raise Interrupted(stop.signum)


def start_trainer(folder: Path, steps: int = 5, wait: bool = True) -> multiprocessing.process.BaseProcess:
    process = fork.Process(target=trainer, args=(folder, steps, wait))
    process.start()
    if wait:
        until(lambda: read_curves(folder).get("loss") == points(*range(1, steps + 1)))
    return process


def test_sigkill_then_sync_then_resume(results: Path) -> None:
    folder = run_in(results)
    process = start_trainer(folder)
    assert sync(results).killed == 0  # it lives
    run = only_run(folder)
    assert run.info.status == "RUNNING"
    process.kill()
    process.join()
    assert (sync(results).killed, sync(results).killed) == (1, 0)
    killed = only_run(folder)
    assert (killed.info.status, killed.data.tags["last_error"]) == ("KILLED", "the process was gone")

    train(folder, range(4, 9), iteration=3)
    sync(results)
    resumed = only_run(folder)
    assert resumed.info.run_id == run.info.run_id and resumed.info.status == "FINISHED"
    assert curve(folder) == points(*range(1, 9))
    assert (resumed.data.tags["resumes"], resumed.data.tags["resumed_at"]) == ("1", "3")


def test_resume_keeps_parameters_and_reports_changes(folder: Path) -> None:
    for sigma in (0.7, 0.5):
        curves = Curves(folder)
        with pytest.raises(RuntimeError), curves.session("train"):
            curves.params({"sigma": sigma, "tau": 0.7} | ({"delta": 0.1} if sigma == 0.5 else {}))
            raise RuntimeError("stop")
        sent(folder)
    run = only_run(folder)
    assert run.data.params == {"sigma": "0.7", "tau": "0.7", "delta": "0.1"}
    assert run.data.tags["param_changed.sigma"] == "0.5" and "param_changed.tau" not in run.data.tags


def test_held_and_finished_runs_are_left_alone(tmp_path: Path) -> None:
    done, busy = tmp_path / "done", tmp_path / "busy"
    train(done, range(1, 3))
    session = Curves(busy).session("train")
    session.__enter__()  # and never left, as after a SIGKILL
    assert not end_if_killed(done)
    with RunLock(busy / "work" / LOCK_NAME):
        assert not end_if_killed(busy)
    assert end_if_killed(busy) and not end_if_killed(busy)
    assert Curves(busy).status == "KILLED"


# ---------------------------------------------------------------------------- the store fails, the training does not


def refuse_writes(results: Path) -> None:
    """As a read-only file does, but for root as well."""
    with sqlite3.connect(results / "mlflow.db") as connection:
        abort = "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
        connection.execute(f"CREATE TRIGGER broken BEFORE INSERT ON metrics {abort}")


def allow_writes(results: Path) -> None:
    with sqlite3.connect(results / "mlflow.db") as connection:
        connection.execute("DROP TRIGGER broken")


def test_an_outage_is_said_once_and_ends_during_the_training(results: Path, caplog, monkeypatch) -> None:
    monkeypatch.setattr(sync_module, "MAX_INTERVAL_S", 0.2)
    refuse_writes(results)
    folder, curves = run_in(results), Curves(run_in(results))
    with live(folder, interval=0.05), curves.session("train"):
        curves.metrics({"train/loss": value(1)}, 1)
        until(lambda: caplog.records)
        time.sleep(1)  # several tries
        allow_writes(results)
        curves.metrics({"train/loss": value(2)}, 2)
        until(lambda: len(caplog.records) > 1)
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 2 and "readonly" in said[0] and "\n" not in said[0] and "works again" in said[1]
    assert curve(folder) == points(1, 2) and only_run(folder).info.status == "FINISHED"


def test_a_locked_store_does_not_hold_up_the_end(results: Path) -> None:
    connect(tracking_uri(results))
    connection = sqlite3.connect(results / "mlflow.db")
    connection.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    with live(run_in(results), end=1.0):
        train(run_in(results), range(1, 4))
    assert time.monotonic() - start < 10
    connection.close()
    sync(results)
    assert only_run(run_in(results)).info.status == "FINISHED" and curve(run_in(results)) == points(1, 2, 3)


def test_a_store_that_cannot_be_used_is_said_in_one_line_and_another_gets_all(
    results: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (results.parent / "file").write_text("in the way")
    blocked = results.parent / "file" / "mlflow.db"
    for uri, named in ((f"sqlite:///{blocked}", str(blocked)), ("http://127.0.0.1:9", "127.0.0.1:9")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with live(run_in(results), end=30):
            train(run_in(results), range(1, 4))
        assert named in caplog.messages[-1] and "\n" not in caplog.messages[-1]
        with pytest.raises(StoreError, match=named):
            sync(results)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sync(results).failed == [] and curve(run_in(results)) == points(1, 2, 3)


def test_a_store_of_another_version(results: Path) -> None:
    with sqlite3.connect(results / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(StoreError, match="mlflow db upgrade sqlite"):
        sync(results)


def test_passwords_of_addresses_are_not_shown() -> None:
    address = "at postgresql+psycopg2://me:s3:c@ret@host:5432/db now"
    assert without_password(address) == "at postgresql+psycopg2://me:***@host:5432/db now"
    assert without_password("http://host:5000/a@b") == "http://host:5000/a@b"


# ---------------------------------------------------------------------------- rebuilt from files, nothing twice


def test_a_deleted_database_is_rebuilt_from_the_files(results: Path, shared: Path) -> None:
    for run in ("a", "b"):
        train(run_in(results, run), range(1, 30))
    assert sync(results).runs == 2
    before = {run.info.run_name: curve(run_in(results), run) for run in runs(run_in(results))}
    shutil.copy(shared / "mlflow.db", results / "mlflow.db")
    assert runs(run_in(results)) == []
    assert sync(results).runs == 2
    after = runs(run_in(results))
    assert {run.info.run_name: curve(run_in(results), run) for run in after} == before and len(before) == 2
    assert {run.info.status for run in after} == {"FINISHED"}
    assert sync(results).lines == 0


def test_a_crash_between_sending_and_noting_it(folder: Path) -> None:
    train(folder, range(1, 5))
    assert sent(folder) == 7 and sent(folder) == 0
    uri = tracking_uri(folder.parents[3])
    for wrong in ("0", "3", "999999"):  # 3: no line ends there
        connect(uri).set_tag(only_run(folder).info.run_id, "contrastmask.sent", wrong)
        assert sent(folder) == 7
    assert curve(folder) == points(1, 2, 3, 4)


def test_what_was_deleted_in_mlflow(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run stays deleted; an experiment whose runs go on is restored, which is said."""
    client = connect(tracking_uri(folder.parents[3]))
    train(folder, range(1, 3))
    train(folder.parents[1] / "other" / "seed0", range(1, 3))
    sent(folder)
    client.delete_run(only_run(folder).info.run_id)
    train(folder, range(3, 5), iteration=2)
    assert sent(folder) == 0 and runs(folder) == []
    name = f"contrastmask/{folder.parents[2].name}"
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    sent(folder.parents[1] / "other" / "seed0")
    assert "restored" in caplog.text and name in caplog.text
    assert "other/seed0" in {run.info.run_name for run in runs(folder)}


def test_a_new_run_in_an_old_folder_is_a_new_run(folder: Path) -> None:
    for _ in range(2):
        train(folder, range(1, 3))
        sent(folder)
        (folder / NAME).unlink()
    assert len(runs(folder)) == 2


def test_eight_processes_make_the_store_and_lose_nothing(tmp_path: Path, shared: Path) -> None:
    results = tmp_path / "results"
    folders = [run_in(results, f"run{i}") for i in range(8)]
    processes = [start_trainer(folder, 200, wait=False) for folder in folders]
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * 8
    assert sync(results).failed == []  # whatever a slow machine left at the end of its process
    found = runs(folders[0])
    assert sorted(run.info.run_name for run in found) == [f"run{i}/seed0" for i in range(8)]
    assert {run.info.status for run in found} == {"FINISHED"}
    assert all(curve(folders[0], run) == points(*range(1, 201)) for run in found)


def test_a_live_run_and_sync_together(results: Path) -> None:
    folder, curves = run_in(results), Curves(run_in(results))
    with live(folder, interval=0.01), curves.session("train"):
        for step in range(1, 60):
            curves.metrics({"train/loss": value(step)}, step)
            if step % 20 == 0:
                sync(results)
    assert curve(folder) == points(*range(1, 60))


# ---------------------------------------------------------------------------- the view


@pytest.fixture
def server(results: Path) -> Iterator[tuple[int, str]]:
    """(process, address) of `make ui`."""
    train(run_in(results, "a"), range(1, 3))
    sync(results)
    port = free_port()
    called = f"serve(Path({str(results)!r}), port={port})"
    code = f"from pathlib import Path; from contrastmask.tracking.store import serve; {called}"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def test_the_ui_is_a_server_that_trainings_can_use_and_that_ctrl_c_ends(
    results: Path, server: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, address = server
    until(lambda: answers(f"{address}/health"))
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert len(family) <= 3 and listening == {"127.0.0.1"}
    port = int(address.rpartition(":")[2])
    with pytest.raises(Failed, match=rf"port {port}: .*make ui PORT={port + 1}"):
        store.serve(results, port=port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    folder = run_in(results, "b")
    with live(folder):
        train(folder, range(1, 30))
        Curves(folder).text("config.json", "{}")
    found = {run.info.run_name: run for run in runs(folder)}
    assert {name: run.info.status for name, run in found.items()} == dict.fromkeys(("a/seed0", "b/seed0"), "FINISHED")
    assert curve(folder, found["b/seed0"]) == points(*range(1, 30))
    artifact = f"{address}/get-artifact?path=config.json&run_uuid={found['b/seed0'].info.run_id}"
    assert urllib.request.urlopen(artifact, timeout=30).read() == b"{}"
    os.kill(pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family[1:], timeout=30)
    assert alive == []


def test_tracking_uri_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Path("results")) == f"sqlite:///{os.path.realpath(tmp_path)}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///my.db")
    assert tracking_uri(Path("results")) == f"sqlite:///{os.path.realpath(tmp_path)}/my.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri(Path("results")) == "http://host:5000"
