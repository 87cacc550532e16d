"""`contrastmask plan`."""

from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@options.config_option
@click.option("--calibrate", is_flag=True, help="Time a few real steps first, of the fewest systems that tell.")
@click.option("--save", is_flag=True, help="Keep the estimates in results/<scale>/plan.json, to be held against runs.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def command(
    tables: tuple[str, ...], config: tuple[tuple[str, Any], ...], calibrate: bool, save: bool, quiet: bool
) -> None:
    """Say what the tables need: the distinct runs, what is done, what is left and what it will cost on this machine.

    TABLE is the stem of a file in configs/tables; without one, the configuration's tables. Hours come from runs
    that finished at this scale on such a machine, or from --calibrate; without either they are not known.

    \b
    Examples:
      contrastmask plan
      contrastmask plan table2 table5 --config scale=paper data_root=/data/coco seeds=[0,1,2]
      contrastmask plan --calibrate --config scale=paper data_root=/data/coco
    """
    from rich.console import Console

    from contrastmask.config import load_tables
    from contrastmask.report import plan as plans
    from contrastmask.report.plan_view import print_plan

    asked = {"tables": list(tables)} if tables else {}
    settings = options.load(dict(config) | asked)
    every = load_tables(settings)
    wanted = {name: every[name] for name in settings.tables}
    plan = plans.make_plan(settings, wanted)
    if calibrate:
        from benchmarks.calibrate import calibrate as measure

        measure(settings, plan)
        plan = plans.make_plan(settings, wanted)
    if save:
        plans.save(plan, settings.folder)
    if not quiet:
        console = Console()
        print_plan(plan, console if console.is_terminal else Console(width=240))
