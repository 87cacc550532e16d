# The checked settings and the tables, what every command is told, and the lock of this folder.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# the package of this project, also where none or another is installed, and whatever folder Snakemake works in
sys.path.insert(0, workflow.basedir)
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")])))

from contrastmask import config as experiment
from contrastmask.runtime.locks import RunLock
from contrastmask.runtime.terminal import lose_no_output, visible
from contrastmask.config.yamlfiles import read_yaml

lose_no_output()


def load():
    """Settings and tables, or one readable error before any work starts."""
    try:
        settings = experiment.load_settings(config)
        tables = experiment.load_tables(settings)
        for run in experiment.all_runs({name: tables[name] for name in settings.tables}).values():
            experiment.check_groups(run, settings)
        return settings, tables
    except ValueError as error:
        raise WorkflowError(visible(str(error))) from None


DEFAULTS = read_yaml(experiment.CONFIGS / "config.yaml", "config")
SETTINGS, TABLES = load()
RUNS = experiment.all_runs(TABLES)
OUT = SETTINGS.folder
RUN = str(OUT / "runs" / "{run}" / "seed{seed}")

# `auto` is decided here, not in the jobs, which may see fewer GPUs
SETTINGS_JSON = json.dumps({**config, "gpus_per_run": SETTINGS.gpus_per_run})
PYTHON = sys.executable
RESULTS = str(SETTINGS.results)
# In rules, `contrastmask` is the one command line, run by this Python, in the place of the shell; "$settings" and
# "$results" are what it is told. What rules interpolate is quoted (:q).
shell.prefix(
    'set -euo pipefail; export CONTRASTMASK_CHAIN=1; contrastmask() {{ exec {PYTHON:q} -m contrastmask "$@"; }}; '
    "settings={SETTINGS_JSON:q}; results={RESULTS:q}; "
)
SEEDS = ",".join(map(str, SETTINGS.seeds))


def forget_stale_lock():
    """Free the folder if the Snakemake that locked it is gone (SIGKILL, power): the same command then goes on.

    Snakemake's lock is a file and outlives its process. Ours is the kernel's and does not: who holds it, works here.
    """
    alive = RunLock(Path(".snakemake") / "alive.lock")
    if workflow.is_main_process and alive.acquire(wait=False) and alive.exclusive:
        for stale in Path(".snakemake/locks").glob("*"):
            stale.unlink()
    return alive


ALIVE = forget_stale_lock()  # held for the life of this process


wildcard_constraints:
    setting="[A-Za-z0-9_-]+",
    backbone="[A-Za-z0-9_-]+",
    run=r"[A-Za-z0-9_.\-]+",
    seed="0|[1-9][0-9]*",  # seed007 would be a folder beside that of seed 7, which is trained
    priors="[0-9]+",
    area="[0-9]+",
