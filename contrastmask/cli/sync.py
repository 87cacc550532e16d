"""`contrastmask sync`."""

import sys
from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.results_option
def command(results: Path | None) -> None:
    """Bring MLflow up to date with the files of every run, and close the runs that were killed.

    MLflow is the server that MLFLOW_TRACKING_URI names, or a file in the results folder. It is a view of the files: an
    empty store is filled again.

    \b
    Examples:
      contrastmask sync --results results
    """
    from contrastmask.tracking.sync import sync_and_say

    if not sync_and_say(Path(results or options.defaults()["results"])):
        sys.exit(1)
