"""Time and memory of many rows: `python -m benchmarks.bench_rows`.

In a copy of the project's rules with one more table, of 10, 100 and 1,000 rows that each need a run of their own:
`snakemake -n` with nothing done, `contrastmask plan`, and what the table's rule calls, with every run measured. The
measurements are made up and stay in the copy. Writes results/smoke/bench/rows.{md,csv}.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks import output
from benchmarks.bench import BenchError
from benchmarks.output import stamp
from contrastmask.config import run_spec
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.paths import ROOT
from contrastmask.report.paper import METRICS
from contrastmask.runtime.provenance import provenance

TABLE = "grid"
COMMANDS = {
    "snakemake -n": ("snakemake", "-n", TABLE),
    "contrastmask plan": ("contrastmask", "plan", TABLE),
    "contrastmask tables": ("contrastmask", "tables", TABLE),
}
HEAD = ("Command", "rows", "s", "CPU s", "MiB", "s / row", "exponent")


@dataclass(frozen=True)
class Reading:
    """What a command took: seconds on the clock and of all cores, peak resident MiB of its largest process."""

    seconds: float
    cpu: float
    memory: float


def copy_project(folder: Path) -> None:
    """The rules, configurations and package, without results."""
    for name in ("workflow", "profiles", "configs", "contrastmask"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)


def write_grid(project: Path, rows: int) -> None:
    """configs/tables/grid.yaml: `rows` thresholds of the CAM, none the default, so that each is a run of its own."""
    values = [round(0.001 + 0.09 * row / rows, 6) for row in range(rows)]
    lines = [f"  - {{label: delta={value}, options: {{delta: {value}}}}}" for value in values]
    base = "base: {method: contrastmask, backbone: r50, schedule: 1x, setting: nonvoc2voc, mask_layers: 4}"
    head = ["title: A grid", "caption: Thresholds of the CAM.", base, "rows:"]
    (project / "configs" / "tables" / f"{TABLE}.yaml").write_text("\n".join([*head, *lines, ""]))


def write_metrics(project: Path) -> None:
    """A metrics.json with made-up numbers for each run of the grid."""
    grid = read_yaml(project / "configs" / "tables" / f"{TABLE}.yaml", "table")
    for run in (run_spec(grid["base"] | row, "paper") for row in grid["rows"]):
        file = project / "results" / "smoke" / "runs" / run.id / "seed0" / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        segm = {"novel": dict.fromkeys(METRICS, 0.1)}
        file.write_text(json.dumps({"run": run.id, "seed": 0, "scale": "smoke", "segm": segm}))


def measure(command: Sequence[str], project: Path) -> Reading:
    """Run `python -m command...` in the copy.

    Raises:
        BenchError: it failed; the message has its last lines.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(project)},
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by Popen
        if process.returncode != 0:
            output.seek(0)
            last = "\n".join(output.read().strip().splitlines()[-8:])
            raise BenchError(f"{' '.join(command)} ended with code {process.returncode}:\n{last}")
    return Reading(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(sizes: Sequence[int], repeats: int) -> list[list[str]]:
    """A line under HEAD for each command and size, medians over the repeats."""
    found: dict[tuple[str, int], Reading] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="contrastmask-") as folder:
            project = Path(folder)
            copy_project(project)
            write_grid(project, rows)
            for name, command in COMMANDS.items():
                if name == "contrastmask tables":
                    write_metrics(project)
                readings = [measure(command, project) for _ in range(repeats)]
                found[name, rows] = middle(readings)
                print(f"{rows} rows, {name}: {found[name, rows].seconds:.1f} s", file=sys.stderr, flush=True)
    return [cells(name, sizes, i, found) for name in COMMANDS for i in range(len(sizes))]


def middle(readings: Sequence[Reading]) -> Reading:
    """The median of each quantity."""
    return Reading(*(statistics.median(values) for values in zip(*(vars(r).values() for r in readings), strict=True)))


def cells(name: str, sizes: Sequence[int], i: int, found: dict[tuple[str, int], Reading]) -> list[str]:
    """One line; `exponent` is that of the CPU time from the next smaller grid to this."""
    this = found[name, sizes[i]]
    exponent = "–"
    if i > 0:
        before = found[name, sizes[i - 1]]
        exponent = f"{math.log(this.cpu / before.cpu) / math.log(sizes[i] / sizes[i - 1]):.2f}"
    per_row = f"{this.seconds / sizes[i]:.4f}"
    return [name, str(sizes[i]), f"{this.seconds:.1f}", f"{this.cpu:.1f}", f"{this.memory:.0f}", per_row, exponent]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_rows", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 100, 1000], help="sizes of the grid")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    sizes = sorted(set(given.rows))
    if sizes[0] < 1 or given.repeats < 1:
        parser.error("--rows and --repeats must be at least 1")
    facts, load = provenance(), os.getloadavg()[1]
    try:
        rows = compare(sizes, given.repeats)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    hardware = f"{facts['hw.cpu']}, {facts['hw.cores']} cores"
    of_csv = {
        "repeats": str(given.repeats),
        **stamp(facts),
        "snakemake": metadata.version("snakemake"),
        "hardware": hardware,
        "load_average": f"{load:.1f}",
    }
    notes = [
        f"Median of {given.repeats} of each command, nothing kept between them but compiled Python; {hardware}, "
        f"load average {load:.1f} from other work (look at the CPU time where that is not near 0), "
        f"Python {of_csv['python']}, Snakemake {of_csv['snakemake']}.",
        "`snakemake -n` and `contrastmask plan`: nothing is done yet. `contrastmask tables`: every run is measured.",
        "MiB: of the largest process at its peak. Exponent: of the CPU time from the next smaller grid to this one;"
        " 1 is linear, less where starting counts for more.",
    ]
    folder = given.results / "smoke" / "bench"
    print(output.write(folder, "rows", notes, HEAD, rows, left=1, facts=of_csv), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
