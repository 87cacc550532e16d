"""What many rows cost: calls are counted, not timed; and the bench itself, once, on small grids."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench_rows import TABLE, BenchError, Reading, copy_project, main, measure, middle, write_grid

SIZES = (5, 25)

# Counts what is dear while a command runs in a copy of the project, and says how long the rules' patterns are.
COUNTER = """
import atexit, collections, json, os, sys
import yaml
import contrastmask.config as experiment
from contrastmask.report import plan
from contrastmask.config import fragments
counts = collections.Counter()

def counted(module, name):
    function = getattr(module, name)
    def call(*arguments, **options):
        counts[name] += 1
        return function(*arguments, **options)
    setattr(module, name, call)

counted(yaml, "safe_load")
counted(fragments.runpy, "run_path")
counted(experiment, "resolve")
plan.resolve = experiment.resolve
if sys.argv[1] == "snakemake":
    from snakemake.cli import main
    from snakemake.workflow import Workflow
    include = Workflow.include
    def remember(self, *arguments, **options):
        include(self, *arguments, **options)
        counts["pattern"] = len(self.globals.get("TRAINED", ""))
    Workflow.include = remember
else:
    from contrastmask.cli import main
atexit.register(lambda: open("counts.json", "w").write(json.dumps(counts)))
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    return folder


def counts(project: Path, rows: int, *command: str) -> dict[str, int]:
    write_grid(project, rows)
    done = subprocess.run(
        [sys.executable, "-c", COUNTER, *command], cwd=project, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((project / "counts.json").read_text())


@pytest.mark.parametrize("command", [("snakemake", "-n", TABLE), ("contrastmask", "plan", TABLE)])
def test_a_row_more_is_resolved_once_and_reads_no_file_again(project: Path, command: tuple[str, ...]) -> None:
    few, many = (counts(project, rows, *command) for rows in SIZES)
    assert few["safe_load"] > 0 and few["run_path"] > 0
    assert {key: many[key] - few[key] for key in few} == {
        "safe_load": 0,
        "run_path": 0,
        "resolve": SIZES[1] - SIZES[0],
        **({"pattern": 0} if command[0] == "snakemake" else {}),
    }


def test_the_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "2", "4", "--repeats", "1", "--results", str(tmp_path)]) == 0
    lines = list(csv.DictReader((tmp_path / "smoke" / "bench" / "rows.csv").open()))
    assert [(line["Command"], line["rows"]) for line in lines] == [
        (name, rows) for name in ("snakemake -n", "contrastmask plan", "contrastmask tables") for rows in ("2", "4")
    ]
    assert all(float(line["MiB"]) > 10 and float(line["CPU s"]) > 0 and line["commit"] for line in lines)
    assert "| contrastmask tables |" in capsys.readouterr().out


def test_a_command_that_fails_is_said(project: Path) -> None:
    with pytest.raises(BenchError, match="nothing-of-that-name"):
        measure(["contrastmask", "plan", "nothing-of-that-name"], project)


def test_the_middle_is_of_each_quantity() -> None:
    readings = [Reading(1, 9, 5), Reading(3, 7, 6), Reading(2, 8, 7)]
    assert middle(readings) == Reading(2, 8, 6)
