# What is said when Snakemake ends, and MLflow brought up to date. A failure here is said and harms nothing.
import json
import shlex
import subprocess
import time

import yaml
from snakemake.logging import logger

STARTED = time.time()


def contrastmask(*arguments):
    command = [sys.executable, "-m", "contrastmask", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def update_mlflow():
    """Send what the runs could not, and close those that were killed."""
    contrastmask("sync", "--results", RESULTS)


def typed(value):
    """A setting as a person types it: in a list, a text that YAML reads otherwise is quoted."""
    if not isinstance(value, list):
        return value
    return f"[{','.join(str(v) if yaml.safe_load(str(v)) == v else json.dumps(v) for v in value)}]"


def use_it(table):
    """The command that uses what a person's own data has trained, or the ways to real photos and to one's own."""
    trained = [run.id for run in TABLES[table].runs if not run.detector]
    kind, scale = SETTINGS.scale["dataset"]["kind"], config["scale"]
    if kind == "folder" and trained:
        command = ["contrastmask", "predict", "PHOTOS", "--scale", scale, "--run", trained[-1]]
        return {shlex.join(command): "masks in other photos"}
    photos = f"snakemake --cores {workflow.cores} steps --config scale=garments data_root=CLONE"
    own = {"contrastmask init FOLDER": "photos of your own: docs/own-data.md"}
    return ({photos: "real photos, in an hour: README.md"} if kind == "synthetic" else {}) | own


def say_what_is_there():
    """After success: one table of those just made (Table 2 if it is one of them), where all are, and what comes next."""
    update_mlflow()
    files = {name: OUT / "tables" / f"{name}.md" for name in TABLES}
    made = [name for name, file in files.items() if file.exists() and file.stat().st_mtime >= STARTED]
    if not made:
        return
    shown = "table2" if "table2" in made else made[0]
    changed = [f"{key}={typed(value)}" for key, value in config.items() if value != DEFAULTS[key]]
    page = ["snakemake", "--cores", str(workflow.cores), "report", *(["--config", *changed] if changed else [])]
    following = {
        "make ui": "compare the runs in MLflow",
        shlex.join(page): "one page with everything behind the tables",
    } | use_it(shown)
    print(
        f"\n{visible(files[shown].read_text(encoding='utf-8'))}\nAs csv, md, html and tex in {OUT / 'tables'}: "
        f"{', '.join(made)}\n\nNext:",
        *(f"  {command:{max(map(len, following))}}  {what}" for command, what in following.items()),
        sep="\n",
        flush=True,
    )


def render_what_is_there():
    """After a failure: the wanted tables as far as they go, missing runs marked `not run`.

    Not in tables/: Snakemake would take them for finished.
    """
    update_mlflow()
    if not SETTINGS.dataset.exists():
        logger.info("Nothing was trained: the data cannot be used as it is. Mend what is named above, then try again.")
        return
    of_settings = ["--scale", config["scale"], "--preset", SETTINGS.preset, "--seeds", SEEDS]
    wanted = sorted(workflow.dag_settings.targets & TABLES.keys()) or SETTINGS.tables
    contrastmask("tables", *wanted, *of_settings, "--results", RESULTS, "--folder=partial")
    logger.info(
        f"Runs are missing. The tables as far as they go: {OUT / 'partial'}. The same command goes on from here."
    )
