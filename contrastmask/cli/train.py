"""`contrastmask train`."""

import sys
from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@options.run_options()
@options.settings_options
def command(run: str, seed: int, scale: str | None, results: Path | None, changes: dict[str, Any]) -> None:
    """Train one run of the tables, or go on with it where it stopped.

    The data must be there: `snakemake --cores 1 RUN_FOLDER/model.pth` makes it first, and then calls this. Writes
    config.json, model.pth and train.json into results/<scale>/runs/<run>/seed<k>. Ctrl-C and SIGTERM save a checkpoint
    at the next iteration; the same command goes on from the last one, in the same MLflow run. With several GPUs
    (`gpus_per_run`) it starts one process on each.

    \b
    Examples:
      contrastmask train --run contrastmask-paper_r50_1x_nonvoc2voc
      contrastmask train --run mask-rcnn_r50_1x_voc2nonvoc --seed 1
      contrastmask train --run mask-rcnn_r50_1x_voc2nonvoc --scale paper --config data_root=/data/coco
    """
    from contrastmask.training.job import load_job
    from contrastmask.training.train import start

    sys.exit(start(load_job(options.load(changes, scale, results), run, seed)))
