"""`contrastmask evaluate`."""

from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@options.run_options()
@options.settings_options
def command(run: str, seed: int, scale: str | None, results: Path | None, changes: dict[str, Any]) -> None:
    """Measure a trained run on the validation images, by the protocol in docs/protocol.md.

    Writes metrics.json (AP of boxes and masks on novel, base and all categories), detections.json.gz and
    gt_box_iou.csv beside model.pth, and the numbers into the MLflow run of the training.

    \b
    Examples:
      contrastmask evaluate --run contrastmask-paper_r50_1x_nonvoc2voc
      contrastmask evaluate --run mask-rcnn_r50_1x_voc2nonvoc --scale paper --config data_root=/data/coco
    """
    from contrastmask.evaluation.evaluate import headline, start
    from contrastmask.training.job import load_job

    click.echo(headline(start(load_job(options.load(changes, scale, results), run, seed))))
