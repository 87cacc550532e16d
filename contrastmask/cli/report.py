"""`contrastmask report`."""

from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@options.scale_option
@options.results_option
@options.settings_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write.  [default: results/<scale>/report/index.html]",
)
def command(scale: str | None, results: Path | None, changes: dict[str, Any], out: Path | None) -> None:
    """Write the report: one page with every table, the runs behind it, plots, and what is missing.

    It shows what is there, finished or not. `snakemake --cores 2 report` runs what is missing first.

    \b
    Examples:
      contrastmask report
      contrastmask report --scale paper --config data_root=/data/coco seeds=[0,1,2]
    """
    from contrastmask.config import load_tables
    from contrastmask.report.page import write_report

    settings = options.load(changes, scale, results)
    click.echo(write_report(settings, load_tables(settings), out))
