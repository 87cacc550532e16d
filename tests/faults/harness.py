"""The project at the size of the fault tests (ten images, a dozen iterations, one run), and the commands that fill it.

`Results` runs the commands one by one, as the rules of the workflow call them; `Chain` runs Snakemake.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from end_to_end.chain import ROOT, fresh_project
from waiting import until

from contrastmask.tracking.curves import read_curves

FULL = os.environ.get("CONTRASTMASK_FAULTS") == "full"  # `make faults`
RUN = "contrastmask-paper_r50_1x_nonvoc2voc"
ITERATIONS, EVERY = 12, 3
SCALE: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "scales" / "smoke.yaml").read_text()) | {
    "name": "micro",
    "note": "Ten images, for the fault tests.",
    "dataset": {"kind": "synthetic", "train_images": 10, "val_images": 4, "image_size": 96, "seed": 0, "categories": 8},
    "one_x": {"iterations": ITERATIONS},
    "checkpoint_every": EVERY,
}
TABLE = {
    "title": "Faults",
    "caption": "One run.",
    "base": {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc", "mask_layers": 4},
    "rows": [{"label": "the run"}],
}
MARK = "CONTRASTMASK_FAULTS_OF"  # in the environment of every process that a project starts, and of its children
Fault = dict[str, Any]  # a function of inject.py, `name`, and its arguments


def micro_project(folder: Path) -> Path:
    """A fresh copy of the project with the scale `micro` and the table `faults`."""
    folder.mkdir(parents=True)
    fresh_project(folder)
    (folder / "configs" / "scales" / "micro.yaml").write_text(yaml.safe_dump(SCALE))
    (folder / "configs" / "tables" / "faults.yaml").write_text(yaml.safe_dump(TABLE))
    return folder


class Warm:
    """The process of warm.py, in a project."""

    def __init__(self, project: Path) -> None:
        path = os.pathsep.join((str(project), str(ROOT / "tests")))
        command = [sys.executable, str(ROOT / "tests" / "faults" / "warm.py")]
        self.project = project
        self.process = subprocess.Popen(command, cwd=project, env=os.environ | {"PYTHONPATH": path},
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        self._answer()

    def ask(self, **order: Any) -> int:
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> int:
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
            self.code = self.warm.ask(wait=self.pid)
        return self.code

    def kill(self, number: signal.Signals = signal.SIGKILL) -> bool:
        """Whether there was something to kill: one that was not waited for is a zombie."""
        running = psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        if running:
            os.kill(self.pid, number)
        return running

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        self.wait()

    @property
    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.log.read_bytes()[self.start :].decode(errors="replace")

    def failed(self, *texts: str, codes: tuple[int, ...] = (1,)) -> None:
        """Assert that it failed with one message, which says what matters, and no traceback."""
        assert self.wait() in codes, self.said
        assert "Traceback" not in self.said and "Error: " in self.said, self.said
        assert all(text in self.said for text in texts), self.said


class Results:
    """A result folder at scale micro, and the commands that fill it."""

    def __init__(self, warm: Warm, folder: Path, log: Path | None = None) -> None:
        self.warm, self.folder, self.log = warm, folder, log or folder.with_name(folder.name + ".log")
        self.environment = {MARK: str(folder), "MLFLOW_TRACKING_URI": ""}
        self.groups: list[int] = []  # of the processes that were started

    @property
    def data(self) -> Path:
        return self.folder / "micro" / "data"

    @property
    def run(self) -> Path:
        return self.folder / "micro" / "runs" / RUN / "seed0"

    @property
    def table(self) -> Path:
        return self.folder / "micro" / "tables" / "faults.csv"

    def done(self, name: str) -> bool:
        """Whether the run has that file."""
        return (self.run / name).exists()

    def checkpoints(self) -> list[Path]:
        return sorted(self.run.glob("work/iter_*.pth"), key=lambda path: int(path.stem[5:]))

    def begin(self, *arguments: str | Path, faults: tuple[Fault, ...] = ()) -> Command:
        """Start `contrastmask` with these arguments."""
        self.log.touch()
        start = self.log.stat().st_size
        order = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(self.warm.project),
            "log": str(self.log),
            "environment": self.environment,
            "faults": list(faults),
        }
        self.groups.append(self.warm.ask(start=order))
        return Command(self.warm, self.groups[-1], self.log, start)

    def do(self, *arguments: str | Path, faults: tuple[Fault, ...] = ()) -> Command:
        """`contrastmask` to its end."""
        command = self.begin(*arguments, faults=faults)
        command.wait()
        return command

    def well(self, *arguments: str | Path, faults: tuple[Fault, ...] = ()) -> None:
        """The same, which must end well."""
        command = self.do(*arguments, faults=faults)
        assert command.code == 0, command.said

    def measure(self) -> None:
        """Train and evaluate."""
        for verb in ("train", "evaluate"):
            self.well(verb, self.run)

    def begin_training(self, *faults: Fault) -> Command:
        return self.begin("train", self.run, faults=faults)

    def train_until(self, point: int, *faults: Fault) -> Command:
        """A training that has just reached so many iterations, and goes on."""
        command = self.begin_training(*faults)
        until(lambda: len(read_curves(self.run).get("loss", ())) >= point)
        return command

    def tables(self) -> tuple[str | Path, ...]:
        return ("tables", "faults", "--scale", "micro", "--results", self.folder)

    def prepare(self) -> None:
        """Data, split, config.json of the run, and an empty MLflow store."""
        described = self.data / "dataset.json"
        self.well("prepare", self.data / "synthetic", "--data", json.dumps(SCALE["dataset"]), "--out", described)
        self.well("split", "nonvoc2voc", "--dataset", described, "--out", self.data / "nonvoc2voc")
        self.well("configure", "--config", "scale=micro", "tables=[faults]", f"results={self.folder}")
        self.well("sync", "--results", self.folder)

    def go_on(self) -> None:
        """What is not done yet, by the commands of the workflow, as Snakemake would after a failure."""
        if not self.done("train.json"):
            self.well("train", self.run)
        if not self.done("metrics.json"):
            self.well("evaluate", self.run)
        self.well(*self.tables())
        self.well("sync", "--results", self.folder)

    def copy(self, folder: Path, log: Path | None = None) -> "Results":
        """The same results in another folder, data and all."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Results(self.warm, folder, log)

    def processes(self) -> list[psutil.Process]:
        """Processes that a command of these results started and that still live."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = os.getpgid(process.pid) in self.groups or process.environ().get(MARK) == str(self.folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, ProcessLookupError):
                continue
        return found


class Chain(Results):
    """A project of its own with the prepared data, where `snakemake` makes the table `faults`."""

    def __init__(self, prepared: Results, project: Path) -> None:
        shutil.copytree(prepared.warm.project, project, ignore=shutil.ignore_patterns("__pycache__"))
        super().__init__(prepared.warm, project / "results")
        shutil.copytree(prepared.folder, self.folder)

    def start(self) -> subprocess.Popen[bytes]:
        """`snakemake`, in a process group of its own."""
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "scale=micro", "tables=[faults]"]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder.parent, env=os.environ | self.environment, stdout=log,
                                    stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def go_on(self) -> None:
        """The same command, to its end; until every process is gone, orphans too."""
        assert self.start().wait(900) == 0, self.said
        self.wait_for_end()
        assert "Traceback" not in self.said
        assert not list((self.folder.parent / ".snakemake" / "locks").glob("*"))

    def wait_for_end(self) -> None:
        _, alive = psutil.wait_procs(self.processes(), 300.0)
        assert not alive

    @property
    def said(self) -> str:
        """Everything that Snakemake wrote so far."""
        return self.log.read_text(errors="replace")

    def trainers(self) -> list[psutil.Process]:
        """Trainings and evaluations that run here."""
        found = []
        for process in self.processes():
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if "contrastmask" in line and {"train", "evaluate"} & set(line):
                found.append(process)
        return found

    def move(self, project: Path) -> None:
        """The project in another place, as on another machine: nothing is left where it was."""
        shutil.move(self.folder.parent, project)
        super().__init__(self.warm, project / "results")
        self.log.touch()
