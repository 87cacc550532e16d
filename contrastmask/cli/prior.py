"""`contrastmask prior`."""

from pathlib import Path

import click

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="PRIOR_CSV...")
def command(folder: Path, files: tuple[Path, ...]) -> None:
    """Compare the priors of runs: write prior.csv and prior.md into FOLDER from those of `diagnose`.

    \b
    Examples:
      contrastmask prior results/mini results/mini/runs/*/seed*/prior.csv
    """
    from contrastmask.evaluation.prior import write_table

    write_table(folder, files)
