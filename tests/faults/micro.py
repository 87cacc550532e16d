"""The project at the size of the fault tests: ten images, a dozen iterations, one table with one run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from end_to_end.chain import ROOT, fresh_project

from contrastmask.tracking.curves import read_curves

RUN = "contrastmask-paper_r50_1x_nonvoc2voc"
ITERATIONS, EVERY = 12, 3
SCALE: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "scales" / "smoke.yaml").read_text()) | {
    "name": "micro",
    "note": "Ten images, for the fault tests.",
    "dataset": {"kind": "synthetic", "train_images": 10, "val_images": 4, "image_size": 96, "seed": 0, "categories": 8},
    "one_x": {"iterations": ITERATIONS},
    "batch": 2,
    "images_per_gpu": 2,
    "checkpoint_every": EVERY,
}
TABLE = {
    "title": "Faults",
    "caption": "One run.",
    "base": {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc", "mask_layers": 4},
    "rows": [{"label": "the run"}],
}
MARK = "CONTRASTMASK_FAULTS_OF"  # in the environment of every process that a project starts, and of its children
SETTINGS = {"scale": "micro", "tables": ["faults"]}


def micro_project(folder: Path) -> Path:
    """A fresh copy of the project with the scale `micro` and the table `faults`."""
    folder.mkdir(parents=True)
    fresh_project(folder)
    scale = SCALE | {"config": SCALE["config"] | {"image": {"train": [[96, 96]], "test": [96, 96]}}}
    (folder / "configs" / "scales" / "micro.yaml").write_text(yaml.safe_dump(scale))
    (folder / "configs" / "tables" / "faults.yaml").write_text(yaml.safe_dump(TABLE))
    return folder


def environment(results: Path) -> dict[str, str]:
    """Of every process: the mark that finds it again, and no tracking server of whoever runs the tests."""
    return {MARK: str(results), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": ""}


class Warm:
    """The process of warm.py, in a project."""

    def __init__(self, project: Path) -> None:
        path = os.pathsep.join((str(project), str(ROOT / "tests")))
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [sys.executable, str(ROOT / "tests" / "faults" / "warm.py")]
        self.project = project
        self.process = subprocess.Popen(
            command, cwd=project, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


class Command:
    """A started command of the project."""

    def __init__(self, warm: Warm, pid: int, log: Path, start: int) -> None:
        self.warm, self.pid, self.log, self.start = warm, pid, log, start
        self.code: int | None = None

    def wait(self) -> int:
        """The exit code; minus the signal's number if one ended it."""
        if self.code is None:
            self.code = self.warm.ask(wait=self.pid)["code"]
        return self.code

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def running(self) -> bool:
        """Whether it has not ended; a process that was not waited for is a zombie until then."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    @property
    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.log.read_bytes()[self.start :].decode(errors="replace")


class Results:
    """A result folder at scale micro, and the commands that fill it as the rules of the workflow call them."""

    def __init__(self, warm: Warm, folder: Path) -> None:
        self.warm, self.folder = warm, folder
        self.log = folder.with_name(folder.name + ".log")
        self.environment = environment(folder)
        self.groups: list[int] = []  # of the processes that were started

    @property
    def run(self) -> Path:
        return self.folder / "micro" / "runs" / RUN / "seed0"

    @property
    def work(self) -> Path:
        return self.run / "work"

    @property
    def table(self) -> Path:
        return self.folder / "micro" / "tables" / "faults.csv"

    def begin(self, module: str, *arguments: str, faults: tuple[dict[str, Any], ...] = ()) -> Command:
        self.log.touch()
        start = self.log.stat().st_size
        order = {
            "module": module,
            "arguments": list(arguments),
            "folder": str(self.warm.project),
            "log": str(self.log),
            "environment": self.environment,
            "faults": list(faults),
        }
        self.groups.append(self.warm.ask(start=order)["pid"])
        return Command(self.warm, self.groups[-1], self.log, start)

    def do(self, module: str, *arguments: str, faults: tuple[dict[str, Any], ...] = ()) -> Command:
        """A command, to its end."""
        command = self.begin(module, *arguments, faults=faults)
        command.wait()
        return command

    def verb(self, name: str) -> tuple[str, ...]:
        """The command line of `contrastmask train` or `evaluate`, as the rules write it."""
        settings = json.dumps(SETTINGS | {"results": str(self.folder)})
        return ("contrastmask", name, "--run", RUN, "--seed", "0", "--settings", settings)

    def train(self, *faults: dict[str, Any]) -> Command:
        return self.do(*self.verb("train"), faults=faults)

    def evaluate(self, *faults: dict[str, Any]) -> Command:
        return self.do(*self.verb("evaluate"), faults=faults)

    def tables(self) -> Command:
        return self.do("contrastmask", "tables", "faults", "--scale", "micro", "--results", str(self.folder))

    def sync(self) -> Command:
        return self.do("contrastmask.tracking.tracking", "sync", "--results", str(self.folder))

    def prepare(self) -> None:
        """Data, split, and an empty MLflow store."""
        data = self.folder / "micro" / "data"
        config, dataset = json.dumps(SCALE["dataset"]), str(data / "dataset.json")
        split = ("--dataset", dataset, "--setting", "nonvoc2voc", "--out", str(data / "nonvoc2voc"))
        for command in (
            self.do(
                "contrastmask.data.dataset", "--config", config, "--root", str(data / "synthetic"), "--out", dataset
            ),
            self.do("contrastmask.data.splits", *split),
            self.sync(),
        ):
            assert command.code == 0, command.said

    def points(self) -> int:
        """Iterations that the run's curves know."""
        return len(read_curves(self.run).get("loss", ()))

    def train_until(self, point: int, faults: tuple[dict[str, Any], ...] = ()) -> Command:
        """A training that has just reached so many iterations, and goes on."""
        command = self.begin(*self.verb("train"), faults=faults)
        until(lambda: self.points() >= point)
        return command

    def go_on(self) -> None:
        """What is not done yet, by the commands of the workflow, as Snakemake would after a failure."""
        if not (self.run / "train.json").exists():
            command = self.train()
            assert command.code == 0, command.said
        if not (self.run / "metrics.json").exists():
            command = self.evaluate()
            assert command.code == 0, command.said
        for command in (self.tables(), self.sync()):
            assert command.code == 0, command.said


def copy_of(results: Results, folder: Path) -> Results:
    """The same results in another folder, data and all."""
    shutil.copytree(results.folder, folder, symlinks=True)
    return Results(results.warm, folder)


def until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait for something to become true; AssertionError if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
