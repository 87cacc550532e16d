"""`contrastmask ui`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.results_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def command(results: Path | None, host: str, port: int) -> None:
    """Open MLflow on the runs, brought up to date first. Ctrl-C stops it.

    \b
    Examples:
      contrastmask ui --port 5001
    """
    from contrastmask.tracking.sync import sync_and_say
    from contrastmask.tracking.ui import serve

    folder = Path(results or options.defaults()["results"])
    sync_and_say(folder)
    serve(folder, host, port)
