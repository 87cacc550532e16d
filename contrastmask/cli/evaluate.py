"""`contrastmask evaluate`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.run_folder
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Images at once, where another run's detections are segmented (Mask GrabCut).  [default: as in config.json]",
)
def command(folder: Path, processes: int | None) -> None:
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
