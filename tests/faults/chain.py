"""Snakemake in a project of its own, at scale micro."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
from faults.check import processes_of
from faults.micro import RUN, Results, environment


class Chain(Results):
    """A project with the prepared data, where `snakemake` makes the table `faults`."""

    def __init__(self, prepared: Results, project: Path) -> None:
        shutil.copytree(prepared.warm.project, project, ignore=shutil.ignore_patterns("__pycache__"))
        super().__init__(prepared.warm, project / "results")
        self.project = project
        shutil.copytree(prepared.folder, self.folder)

    def start(self) -> subprocess.Popen[bytes]:
        """`snakemake`, in a process group of its own."""
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "scale=micro", "tables=[faults]"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.project,
                env=os.environ | environment(self.folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def make(self) -> int:
        """`snakemake`, to its end; the exit code."""
        return self.start().wait(900)

    @property
    def said(self) -> str:
        """Everything that Snakemake wrote so far."""
        return self.log.read_text(errors="replace")

    def trainers(self) -> list[psutil.Process]:
        """Trainings and evaluations that run here."""
        found = []
        for process in processes_of(self):
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if RUN in line and line[0] != "/bin/sh" and "contrastmask" in line:
                found.append(process)
        return found

    def kill_trainers(self) -> int:
        """SIGKILL to them; how many there were."""
        trainers = self.trainers()
        for process in trainers:
            process.kill()
        return len(trainers)


def wait_for_end(chain: Chain, seconds: float = 300.0) -> None:
    """Until every process of a chain is gone, orphans too."""
    _, alive = psutil.wait_procs(processes_of(chain), seconds)
    assert not alive


def move(chain: Chain, project: Path) -> None:
    """The project in another place, as on another machine: nothing is left where it was."""
    shutil.move(chain.project, project)
    chain.project, chain.folder = project, project / "results"
    chain.log, chain.environment = project / "snakemake.log", environment(project / "results")
    chain.log.touch()
