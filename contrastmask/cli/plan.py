"""`contrastmask plan`."""

from typing import Any

import click

from contrastmask.cli import run_options as options
from contrastmask.errors import ConfigError


@click.command(cls=options.WithConfig)
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@options.config_option
@click.option("--calibrate", is_flag=True, help="Time a few real steps of what has no finished run like it.")
def command(tables: tuple[str, ...], config: tuple[tuple[str, Any], ...], calibrate: bool) -> None:
    """Say what the tables need: the distinct runs, what is done, which rows share them, what is left and its hours.

    TABLE is the stem of a file in configs/tables; without one, the configuration's tables. Hours come from runs
    of the same system that finished at this scale, or from --calibrate; without either they are not known.

    \b
    Examples:
      contrastmask plan
      contrastmask plan table2 table5 --config scale=paper data_root=/data/coco seeds=[0,1,2]
      contrastmask plan --calibrate --config scale=paper data_root=/data/coco
    """
    from rich.console import Console

    from contrastmask.config import load_tables
    from contrastmask.report.plan import make_plan, print_plan

    asked = {"tables": list(tables)} if tables else {}
    settings = options.load(dict(config) | asked)
    every = load_tables(settings)
    timer = _timer(settings) if calibrate else None
    console = Console()
    plan = make_plan(settings, {name: every[name] for name in settings.tables}, timer)
    print_plan(plan, settings.scale["name"], console if console.is_terminal else Console(width=240))


def _timer(settings: Any) -> Any:
    """Times a run's steps by the benchmarks, which are no part of the package."""
    try:
        from benchmarks.calibrate import expected_seconds
    except ModuleNotFoundError as error:
        if error.name not in ("benchmarks", "benchmarks.calibrate"):
            raise
        raise ConfigError(
            "plan --calibrate needs the project's benchmarks/, which are not installed: call it as `python -m"
            " contrastmask plan --calibrate` in a checkout of the project"
        ) from None
    return lambda run: expected_seconds(run, settings)
