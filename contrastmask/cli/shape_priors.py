"""`contrastmask shape-priors`."""

import json
from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command
@click.option("--annotations", type=FILE, required=True, help="instances_train.json of a split.")
@click.option("--split", type=FILE, required=True, help="split.json beside it.")
@click.option("--priors", type=click.IntRange(min=1), required=True, help="Number of priors, K.")
@click.option("--min-area", type=click.IntRange(min=0), required=True, help="Only masks with more pixels than this.")
@click.option("--out", type=FILE, required=True, help=".npz to write; a .json beside it records how.")
def command(annotations: Path, split: Path, priors: int, min_area: int, out: Path) -> None:
    """Cluster a setting's base masks into ShapeMask's shape priors.

    \b
    Examples:
      contrastmask shape-priors --annotations A/instances_train.json --split A/split.json --priors 100 \\
          --min-area 1024 --out A/shape_priors-K100-a1024.npz
    """
    from contrastmask.data.shape_priors import write_priors

    click.echo(json.dumps(write_priors(annotations, split, priors, min_area, out)))
