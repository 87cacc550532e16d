# The checked settings, the tables, and the small functions that say what a rule needs.
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

sys.path.insert(0, workflow.basedir)  # the package, also where it is not installed

from contrastmask import config as experiment
from contrastmask.data.dataset import find_parts
from contrastmask.errors import DataError
from contrastmask.runtime.locks import RunLock
from contrastmask.runtime.terminal import lose_no_output
from contrastmask.config.settings import ALL_MASKS

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
        raise WorkflowError(str(error)) from None


SETTINGS, TABLES = load()
RUNS = experiment.all_runs(TABLES)
OUT = SETTINGS.folder
RUN = str(OUT / "runs" / "{run}" / "seed{seed}")
# `auto` is decided here, not in the jobs, which may see fewer GPUs
SETTINGS_JSON = json.dumps({**config, "gpus_per_run": SETTINGS.gpus_per_run})
PYTHON = sys.executable
# writes config.json of the run that a rule makes
CONFIGURE = (
    "{PYTHON:q} -m contrastmask configure {wildcards.run:q} --seed {wildcards.seed} --settings {SETTINGS_JSON:q}"
    " >> {log:q} 2>&1"
)
SEEDS = ",".join(map(str, SETTINGS.seeds))
TABLE_ARGUMENTS = f"--scale {config['scale']} --preset {SETTINGS.preset} --seeds {SEEDS} --results {SETTINGS.results}"


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
    seed="[0-9]+",
    priors="[0-9]+",
    area="[0-9]+",


def like(runs):
    """Pattern of the wildcard {run} in a rule for such runs.

    It names their families, not each run: Snakemake goes through the pattern for every file of every job.
    """
    families = "|".join(sorted({re.escape(run.family) for run in runs}))
    return rf"(?:{families})(?:_[A-Za-z0-9_.\-]+)?" if families else "(?!)"


TRAINED = like(run for run in RUNS.values() if not run.detector)
DERIVED = like(run for run in RUNS.values() if run.detector)


def run_of(wildcards):
    """The run of that id, or one readable error: a file of a run that no table has may be asked for by its path."""
    if wildcards.run not in RUNS:
        raise WorkflowError(f"no row of a table in configs/tables has the run '{wildcards.run}'")
    return RUNS[wildcards.run]


def config_file(*parts):
    """A file of configs/, relative to where Snakemake works, so that a moved project is not made again."""
    return os.path.relpath(experiment.CONFIGS.joinpath(*parts))


def split_lists(wildcards):
    """The two category lists of a setting."""
    return [config_file(path) for path in experiment.split_lists(wildcards.setting)]


@functools.cache
def resolved(run):
    """A run's resolved configuration, worked out once: Snakemake asks for several things of each run."""
    return experiment.resolve(run, SETTINGS)


def config_hash(wildcards):
    """Identity of a run's resolved configuration: when it changes, the run is made again."""
    return experiment.config_hash(resolved(run_of(wildcards)))


def training_data(wildcards):
    """The split, whose annotations have no novel masks; a run that measures an upper bound reads a file that has."""
    run = run_of(wildcards)
    split = SETTINGS.split(run.setting)
    return [str(split), *([str(split.with_name(ALL_MASKS))] if run.uses_novel_masks else [])]


def annotation_files():
    """The annotation files of data that is not made here: edited, they are verified and split again."""
    if SETTINGS.scale["dataset"]["kind"] in ("synthetic", "clothing"):
        return []
    try:
        parts = find_parts(SETTINGS.scale["dataset"], Path(SETTINGS.data_root))
    except DataError:
        return []  # the rule itself says what is missing
    return [str(part.annotations) for part in parts]


def backbone_weights(wildcards):
    """The backbone's ImageNet weights, unless this scale starts from random ones."""
    config = resolved(run_of(wildcards))
    return [str(SETTINGS.backbone_weights(config["backbone"]))] if config["weights"] else []


def starting_weights(wildcards):
    """The detector from which all runs start, at a scale that has one."""
    start = run_of(wildcards).start
    return [str(SETTINGS.run_folder(start.id, wildcards.seed) / "model.pth")] if start else []


def shape_priors(wildcards):
    """ShapeMask's priors; nothing for every other method."""
    run = run_of(wildcards)
    options = resolved(run)["model"]["roi_head"]["options"]
    priors = SETTINGS.shape_priors(run.setting, options)
    return [str(priors)] if priors else []


def of_detector(name):
    """A file of the run whose detections a run reads, with the same seed."""
    return lambda wildcards: str(SETTINGS.run_folder(run_of(wildcards).detector.id, wildcards.seed) / name)


def metrics_of(table):
    """metrics.json of every distinct run and seed of a table."""
    return [str(SETTINGS.run_folder(run.id, seed) / "metrics.json") for run in table.runs for seed in SETTINGS.seeds]


def table_files(names):
    return [str(OUT / "tables" / f"{name}{suffix}") for name in names for suffix in (".csv", ".md", ".html", ".tex")]


def update_mlflow():
    """Send what the runs could not, and close the runs that were killed. A failure is said and harms nothing."""
    command = [PYTHON, "-m", "contrastmask.tracking.tracking", "sync", "--results", str(SETTINGS.results)]
    subprocess.run(command, cwd=workflow.basedir, stdout=subprocess.DEVNULL, check=False)


def print_tables():
    """The markdown of the tables that exist, in order."""
    from contrastmask.runtime.terminal import visible

    for name in TABLES:
        path = OUT / "tables" / f"{name}.md"
        if path.exists():
            print(f"\n{visible(path.read_text(encoding='utf-8'))}", flush=True)
    update_mlflow()
    print(f"Tables: {OUT / 'tables'}   Compare runs: make ui", flush=True)


def render_what_is_there():
    """After a failure: the tables as far as they go, missing runs marked `not run`.

    Not in tables/: Snakemake would take them for finished.
    """
    update_mlflow()
    arguments = [*SETTINGS.tables, *TABLE_ARGUMENTS.split(), "--folder=partial"]
    command = [PYTHON, "-m", "contrastmask", "tables", *arguments]
    subprocess.run(command, cwd=workflow.basedir, stdout=subprocess.DEVNULL, check=False)
    if not SETTINGS.dataset.exists():
        logger.info("Nothing was trained: the data cannot be used as it is. Mend what is named above, then try again.")
        return
    logger.info(
        f"Runs are missing. The tables as far as they go: {OUT / 'partial'}. The same command goes on from here."
    )
