"""`contrastmask prepare`."""

from pathlib import Path
from typing import Any

import click

from contrastmask.cli.run_options import JsonObject


@click.command
@click.argument("root", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.option("--data", type=JsonObject(), required=True, help="What it is, as `dataset` of a scale, in JSON.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="dataset.json to write.")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Processes that draw synthetic images.  [1]")
def command(root: Path, data: dict[str, Any], out: Path, workers: int) -> None:
    """Verify the data set in FOLDER, or draw synthetic images there, and record it.

    Every problem is named with its fix; what training leaves out is a warning.

    \b
    Examples:
      contrastmask prepare /data/coco --data '{"kind": "coco"}' --out results/paper/data/dataset.json
    """
    from contrastmask.data.dataset import prepare

    prepare(data, root, out, workers)
