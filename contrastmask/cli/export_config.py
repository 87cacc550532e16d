"""`contrastmask export-config`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.run_folder
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Python file to write, such as x.py."
)
def command(folder: Path, out: Path) -> None:
    """Write a run as a plain mmdet 3 configuration.

    RUN_DIR is the folder of a run with its config.json. mmengine's Runner.from_cfg trains from the file, and mmdet's
    init_detector and inference_detector run what was trained; the file's head says how. Paths in it are absolute.

    \b
    Examples:
      contrastmask export-config results/smoke/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0 --out contrastmask.py
    """
    from contrastmask.training.mmdet_config import write
    from contrastmask.training.run import Run

    run = Run.read(folder)
    if run.decided["files"]["detector"]:
        raise click.UsageError(f"{run.id} is not trained: it segments what another run detected")
    write(run, out)
    click.echo(out)
