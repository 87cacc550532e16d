"""What a newcomer waits for: `python -m benchmarks.bench_start` (`make bench-start`).

The set-up of an empty clone with empty package caches and an empty home, a second `make` beside it, the imports of a
training, a dry run with everything to do, and a run with nothing to do, if this checkout's smoke results are complete.
`--make tables --make test` times these too, each from an empty clone of its own, set-up included. The clone is of what
is committed. Medians with the least and the most; a quiet machine is taken for granted.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.output import stamp
from contrastmask.paths import ROOT
from contrastmask.runtime.provenance import provenance

TRAINING = (
    "import contrastmask.training.train, contrastmask.training.build, contrastmask.training.hooks, mmengine.runner"
)
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", str(os.cpu_count() or 1)]
READY = ".venv/bin/.ready"


class CommandFailed(RuntimeError):
    """A command that is timed has failed: its time means nothing."""


def seconds(command: Sequence[str], cpu: bool = False, cwd: Path = ROOT, env: dict[str, str] | None = None) -> float:
    """Time of a command on the clock, or of all cores."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime if cpu else clock


def from_nothing(targets: Sequence[str]) -> list[float]:
    """Seconds of `make` for each of the targets, one after the other in one empty clone with empty caches and home."""
    with tempfile.TemporaryDirectory(prefix="bench_start ") as folder:
        clone, home = Path(folder) / "clone", Path(folder) / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "--quiet", "--local", ROOT, clone], check=True)
        python = getattr(sys, "_base_executable", sys.executable)
        env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")}
        env |= {"HOME": str(home), "UV_CACHE_DIR": str(home / "uv"), "PIP_CACHE_DIR": str(home / "pip")}
        return [seconds(["make", f"PYTHON={python}", target], cwd=clone, env=env) for target in targets]


def nothing_is_left() -> bool:
    asked = subprocess.run([*SNAKEMAKE, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    return "Nothing to be done" in asked.stdout + asked.stderr


def repeated(times: int, measure: Callable[[], float]) -> list[float]:
    return [measure() for _ in range(times)]


def measured(repeats: int, setups: int, targets: Sequence[str]) -> dict[str, list[float]]:
    """{what was timed: seconds}."""
    started = [from_nothing([READY, READY]) for _ in range(setups)]
    with tempfile.TemporaryDirectory() as empty:
        all_to_do = [*SNAKEMAKE, "--dry-run", "--config", f"results={empty}"]
        times = {
            "set-up, empty caches": [first for first, _ in started],
            "set-up, a second time": [second for _, second in started],
            "imports of a training (CPU)": repeated(
                repeats, lambda: seconds([sys.executable, "-c", TRAINING], cpu=True)
            ),
            "dry run, all to do": repeated(repeats, lambda: seconds(all_to_do)),
            "run, nothing to do": repeated(repeats, lambda: seconds(SNAKEMAKE)) if nothing_is_left() else [],
        }
    return times | {f"make {target}, from an empty clone": from_nothing([target]) for target in targets}


def as_table(times: dict[str, list[float]]) -> str:
    """A Markdown table: median, least and most, how often; a dash for what was not measured."""
    lines = ["| what | median s | least to most s | times |", "|---|--:|--:|--:|"]
    for what, values in times.items():
        shown = (
            (f"{statistics.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}") if values else ("–", "–")
        )
        lines.append(f"| {what} | {shown[0]} | {shown[1]} | {len(values)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="of imports and of runs that train nothing (5)")
    parser.add_argument("--setups", type=int, default=3, help="of the set-up, 3 GB of packages each (3)")
    parser.add_argument("--make", action="append", default=[], metavar="TARGET", help="time `make TARGET` too, once")
    options = parser.parse_args()
    print(as_table(measured(options.repeats, options.setups, options.make)))
    facts = provenance()
    made = stamp(facts)
    print(
        f"\n{facts['hw.cores']} cores ({facts['hw.cpu']}), {platform.system()}, Python {made['python']}, commit"
        f" {made['commit']}, {made['date']}"
    )


if __name__ == "__main__":
    main()
