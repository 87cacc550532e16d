"""Verbs that show runs in MLflow."""

import sys
from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command(short_help="Bring MLflow up to date with the files of the runs.")
@options.results_option
def sync(results: Path | None) -> None:
    """Bring MLflow up to date with the files of every run, and close the runs that were killed.

    MLflow is the server that MLFLOW_TRACKING_URI names, or a file in the results folder. It is a view of the files: an
    empty store is filled again.

    \b
    Examples:
      contrastmask sync --results results
    """
    from contrastmask.tracking.sync import sync_and_say

    if not sync_and_say(options.asked(results=results)["results"]):
        sys.exit(1)


@click.command(short_help="Open MLflow on the runs.")
@options.results_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(results: Path | None, host: str, port: int) -> None:
    """Open MLflow on the runs, brought up to date first. Ctrl-C stops it.

    \b
    Examples:
      contrastmask ui --port 5001
    """
    from contrastmask.tracking.store import serve
    from contrastmask.tracking.sync import sync_and_say

    folder = options.asked(results=results)["results"]
    sync_and_say(folder)
    serve(folder, host, port)
