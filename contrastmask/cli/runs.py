"""Verbs that decide, train and measure runs."""

from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options
from contrastmask.config import all_runs, find_run, load_tables, runfile
from contrastmask.errors import ConfigError


@click.command(cls=options.WithConfig, short_help="Say what is left to run, and what it will cost.")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@options.config_option
@click.option("--calibrate", is_flag=True, help="Time a few real steps of what has no finished run like it.")
def plan(tables: tuple[str, ...], config: tuple[tuple[str, Any], ...], calibrate: bool) -> None:
    """Say what the tables need: the distinct runs, what is done, which rows share them, what is left and its hours.

    TABLE is the stem of a file in configs/tables; without one, the configuration's tables. Hours come from runs
    of the same system that finished at this scale, or from --calibrate; without either they are not known.

    \b
    Examples:
      contrastmask plan
      contrastmask plan table2 table5 --config scale=paper data_root=/data/coco seeds=[0,1,2]
      contrastmask plan --calibrate --config scale=paper data_root=/data/coco
    """
    from rich.console import Console

    from contrastmask.report.plan import make_plan, print_plan

    asked = {"tables": list(tables)} if tables else {}
    settings = options.load(dict(config) | asked)
    every = load_tables(settings)
    timer = _timer(settings) if calibrate else None
    console = Console()
    plan = make_plan(settings, {name: every[name] for name in settings.tables}, timer)
    print_plan(plan, settings.scale["name"], console if console.is_terminal else Console(width=240))


def _timer(settings: Any) -> Any:
    """Times a run's steps by the benchmarks, which are no part of the package."""
    try:
        from benchmarks.calibrate import expected_seconds
    except ModuleNotFoundError as error:
        if error.name not in ("benchmarks", "benchmarks.calibrate"):
            raise
        raise ConfigError(
            "plan --calibrate needs the project's benchmarks/, which are not installed: call it as `python -m"
            " contrastmask plan --calibrate` in a checkout of the project"
        ) from None
    return lambda run: expected_seconds(run, settings)


@click.command(cls=options.WithConfig, short_help="Write down everything that is decided about runs.")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),  # NumPy takes no more
    help="Of the runs.  [default: each of configs/config.yaml]",
)
@options.settings_options
def configure(runs: tuple[str, ...], seed: int | None, changes: dict[str, Any]) -> None:
    """Write config.json of runs: everything that is decided about each, in its folder.

    RUN is a run's id; without one, every run of the configuration's tables. What follows reads the folder and nothing
    else: `contrastmask train FOLDER`, `contrastmask evaluate FOLDER`. A file that says the same already is left alone.
    Prints the folders.

    \b
    Examples:
      contrastmask configure contrastmask-paper_r50_1x_nonvoc2voc
      contrastmask configure --config scale=paper data_root=/data/coco tables=[table2] seeds=[0,1,2]
    """
    settings = options.load(changes)
    tables = load_tables(settings)
    wanted = [find_run(tables, run) for run in runs] or all_runs({n: tables[n] for n in settings.tables}).values()
    rows = runfile.rows_of(tables.values())
    for run in wanted:
        for each in settings.seeds if seed is None else [seed]:
            folder = settings.run_folder(run.id, each)
            runfile.write(folder, runfile.describe(run, each, settings, rows.get(run.id, ())))
            click.echo(folder)


@click.command(short_help="Train one run, or go on with it where it stopped.")
@options.run_folder
def train(folder: Path) -> None:
    """Train one run, or go on with it where it stopped.

    RUN_DIR is results/<scale>/runs/<run>/seed<k>; its config.json, which `contrastmask configure` writes, decides
    everything. The data must be there: `snakemake --cores 1 RUN_DIR/model.pth` makes all of it first. Writes model.pth
    and train.json beside it. Ctrl-C, SIGTERM and a closed terminal save a checkpoint at the next iteration; the same
    command goes on from the last one, in the same MLflow run. With several GPUs (`gpus_per_run`) it starts one process
    on each.

    \b
    Examples:
      contrastmask train results/smoke/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0
      contrastmask train "$(contrastmask configure mask-rcnn_r50_1x_voc2nonvoc --seed 1)"
    """
    from contrastmask.training.run import Run
    from contrastmask.training.train import start

    start(Run.read(folder))


@click.command(short_help="Measure a run on the validation images.")
@options.run_folder
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Images at once, where another run's detections are segmented (Mask GrabCut).  [default: as in config.json]",
)
def evaluate(folder: Path, processes: int | None) -> None:
    """Measure a run on the validation images, by the protocol in docs/protocol.md.

    RUN_DIR is the folder of a trained run, or of one that segments another run's detections. Writes metrics.json (AP of
    boxes and masks on novel, base and all categories), detections.json.gz and gt_box_iou.csv, and the numbers into the
    run's MLflow run.

    \b
    Examples:
      contrastmask evaluate results/smoke/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0
      contrastmask evaluate results/paper/runs/mask-grabcut_r50_1x_nonvoc2voc/seed0 --processes 32
    """
    from contrastmask.evaluation.evaluate import headline, start
    from contrastmask.training.run import Run

    click.echo(headline(start(Run.read(folder), processes)))


@click.command(short_help="Say how good a trained class activation map is as a prior.")
@options.run_folder
def diagnose(folder: Path) -> None:
    """Look at a trained ContrastMask's class activation map on the validation objects, novel and base.

    Writes prior.csv beside model.pth: per object whether its class is right, whether the map's confident areas are, and
    how well features tell the object from its surroundings. Prints the means.

    \b
    Examples:
      contrastmask diagnose results/garments/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0
    """
    from contrastmask.evaluation.diagnose import start
    from contrastmask.evaluation.prior import MEASURES, means
    from contrastmask.runtime.terminal import number
    from contrastmask.training.run import Run

    lines = start(Run.read(folder))
    of_split = [means(lines[lines["split"] == split]) for split in ("novel", "base")]
    click.echo(f"{'novel':>8} {'base':>8}")
    for name, meaning in MEASURES.items():
        values = (number(found[name], ".3f") for found in of_split)
        click.echo(" ".join(f"{value:>8}" for value in values) + f"  {meaning}")


@click.command(short_help="Write a run as an mmdet configuration.")
@options.run_folder
@click.option("--out", type=options.FILE, required=True, help="Python file to write, such as x.py.")
def export_config(folder: Path, out: Path) -> None:
    """Write a run as a plain mmdet 3 configuration.

    RUN_DIR is the folder of a run with its config.json. mmengine's Runner.from_cfg trains from the file, and mmdet's
    init_detector and inference_detector run what was trained; the file's head says how. Paths in it are absolute.

    \b
    Examples:
      contrastmask export-config results/smoke/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0 --out contrastmask.py
    """
    from contrastmask.training.mmdet_config import write
    from contrastmask.training.run import Run

    if out.suffix != ".py":
        raise click.UsageError(f"--out {out} must end in .py: mmengine reads it as Python by its name")
    run = Run.read(folder)
    if run.decided["files"]["detector"]:
        raise click.UsageError(f"{run.id} is not trained: it segments what another run detected")
    write(run, out)
    click.echo(out)
