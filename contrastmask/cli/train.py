"""`contrastmask train`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.run_folder
def command(folder: Path) -> None:
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
