"""One run on several processes: the same recipe, the same losses, and a stop that another number of them goes on from.

Processes on the CPU, joined by gloo, stand for GPUs; the chain is the real one, on a scale of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from end_to_end.chain import snakemake, tiny_project

RUN = "contrastmask-official_r50_1x_nonvoc2voc"  # its projector has BatchNorm, over a query group
FOLDER = Path("tiny", "runs", RUN, "seed0")
ITERATIONS = 12
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a scale of its own, whose data is ready."""
    steps = {"one_x": {"iterations": ITERATIONS}, "checkpoint_every": 4}
    return tiny_project(tmp_path_factory.mktemp("many"), 16, 2, **steps, batch=4, images_per_gpu=2, lr=0.002)


@pytest.fixture(scope="module")
def alone(project: Path) -> Path:
    """The run's folder, trained by one process in two passes."""
    results = copy_of_data(project, "alone")
    done = subprocess.run(
        train(project, results, 1), cwd=project, env=environment(results), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return results / FOLDER


def copy_of_data(project: Path, name: str) -> Path:
    results = project / name
    shutil.copytree(project / "results" / "tiny" / "data", results / "tiny" / "data")
    return results


def train(project: Path, results: Path, processes: int) -> list[str]:
    """The command that trains the run, whose config.json is written for so many processes."""
    command = [sys.executable, "-m", "contrastmask"]
    changes = ["scale=tiny", f"results={results}", "preset=official", f"gpus_per_run={processes}"]
    subprocess.run([*command, "configure", RUN, "--config", *changes], cwd=project, check=True)
    return [*command, "train", str(results / FOLDER)]


def environment(results: Path) -> dict[str, str]:
    return os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{results / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}


def events(folder: Path, kind: str) -> list[dict]:
    lines = (folder / "curves.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def curves(folder: Path) -> dict[str, np.ndarray]:
    """Each loss at each iteration, (ITERATIONS,)."""
    points = [event for event in events(folder, "metrics") if "train/loss" in event["values"]]
    assert [point["step"] for point in points] == list(range(1, ITERATIONS + 1))
    return {name: np.array([float(point["values"][name]) for point in points]) for name in points[0]["values"]}


def assert_same_training(folder: Path, other: Path) -> None:
    ours, theirs = curves(folder), curves(other)
    assert set(ours) == set(theirs) and "train/loss_contrast" in ours
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name], rtol=2e-3, atol=1e-4, err_msg=name)
    assert np.ptp(ours["train/loss"]) > 0.1  # there is something to differ in


def recipe(folder: Path) -> dict:
    keys = ("iterations", "batch", "lr", "query_group_images", "identity", "config_hash")
    record = json.loads((folder / "train.json").read_text())
    return {key: record[key] for key in keys}


def test_two_processes_train_as_one_does_in_two_passes(project: Path, alone: Path) -> None:
    """By the rule itself: Snakemake starts the command, which is the first process and starts the second."""
    copy_of_data(project, "together")
    target = str(Path("together") / FOLDER / "model.pth")
    changes = ["scale=tiny", "results=together", "preset=official", "gpus_per_run=2"]
    done = snakemake(project, target, "--config", *changes)
    assert done.returncode == 0, done.stderr[-3000:]
    together = project / "together" / FOLDER
    assert_same_training(together, alone)
    assert recipe(together) == recipe(alone)
    assert (recipe(alone)["batch"], recipe(alone)["query_group_images"]) == (4, 2)
    for folder, processes, passes in ((together, 2, 1), (alone, 1, 2)):
        record = json.loads((folder / "train.json").read_text())
        assert (record["gpus_per_run"], record["passes"], record["images_per_gpu"]) == (processes, passes, 2)
        sent = {key: value for event in events(folder, "params") for key, value in event["values"].items()}
        assert {key: sent[key] for key in ("batch", "gpus_per_run", "passes", "query_group_images")} == {
            "batch": "4", "gpus_per_run": str(processes), "passes": str(passes), "query_group_images": "2",
        }  # fmt: skip


def open_ports(pid: int) -> tuple[set[str], list[psutil.Process]]:
    """The addresses on which a process and those that it started listen, and these processes."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sockets = [socket for process in family for socket in process.net_connections("inet")]
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}, family


@pytest.fixture
def heard(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that what the test starts does not ignore, as it would a SIGHUP where the tests run under nohup."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


@pytest.mark.parametrize("heard", [signal.SIGTERM, signal.SIGHUP], indirect=True)
def test_a_stopped_run_goes_on_with_another_number_of_processes(
    project: Path, alone: Path, heard: signal.Signals
) -> None:
    """Every process gets the signal, as from a terminal or Slurm; while they train, no other machine can reach them."""
    results = copy_of_data(project, f"stopped by {heard.name}")
    folder = results / FOLDER
    with subprocess.Popen(
        train(project, results, 2), cwd=project, env=environment(results), start_new_session=True
    ) as first:
        while not list(folder.glob("work/iter_*.pth")):
            time.sleep(0.05)
            assert first.poll() is None
        listening, family = open_ports(first.pid)
        os.killpg(first.pid, heard)
    assert first.returncode == 128 + heard
    assert len(family) == 2 and listening and listening <= {"127.0.0.1", "::1"}
    assert psutil.wait_procs(family, timeout=30)[1] == []
    again = subprocess.run(
        train(project, results, 1), cwd=project, env=environment(results), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert "going on from iteration" in again.stdout
    assert_same_training(folder, alone)
    assert recipe(folder) == recipe(alone)
    assert [event["status"] for event in events(folder, "status")] == ["KILLED", "FINISHED"]
    assert len(events(folder, "run")) == 1


def test_a_process_that_is_killed_ends_the_training_with_a_message(project: Path) -> None:
    results = copy_of_data(project, "killed")
    command = train(project, results, 2)
    with subprocess.Popen(command, cwd=project, env=environment(results), stderr=subprocess.PIPE, text=True) as first:
        while not list((results / FOLDER).glob("work/iter_*.pth")):
            time.sleep(0.05)
            assert first.poll() is None
        psutil.Process(first.pid).children()[0].kill()
        assert first.stderr is not None
        said = first.stderr.read()
    assert first.returncode == 1 and "a process of this training ended" in said
    assert events(results / FOLDER, "status")[-1]["status"] == "FAILED"
