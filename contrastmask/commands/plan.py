"""`contrastmask plan`."""

from typing import Any

import click
import yaml


class Setting(click.ParamType):
    """KEY=VALUE, the value read as YAML, as Snakemake reads --config."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        from contrastmask.yamlfiles import load_yaml

        key, given, text = value.partition("=")
        if not given or not key:
            self.fail(f"{value!r} is not KEY=VALUE, such as scale=paper", param, ctx)
        try:
            return key, load_yaml(text)
        except yaml.YAMLError:
            self.fail(f"the value of {key} cannot be read as YAML: {text!r}", param, ctx)


@click.command
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option(
    "--config",
    "changes",
    multiple=True,
    type=Setting(),
    metavar="KEY=VALUE...",
    help="What differs from configs/config.yaml, as for snakemake: several may follow.",
)
@click.option("--calibrate", is_flag=True, help="Time a few real steps first, of the fewest systems that tell.")
@click.option("--save", is_flag=True, help="Keep the estimates in results/<scale>/plan.json, to be held against runs.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def command(
    tables: tuple[str, ...], changes: tuple[tuple[str, Any], ...], calibrate: bool, save: bool, quiet: bool
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

    from contrastmask.experiment import CONFIGS, load_settings, load_tables
    from contrastmask.report import plan as plans
    from contrastmask.report.plan_view import print_plan
    from contrastmask.yamlfiles import read_yaml

    # snakemake's --config takes all that follows; click's takes one: the others arrive among the tables
    convert = Setting().convert
    given = dict([*changes, *(convert(word, None, None) for word in tables if "=" in word)])
    names = [word for word in tables if "=" not in word]
    asked = {"tables": names} if names else {}
    settings = load_settings(read_yaml(CONFIGS / "config.yaml", "config") | given | asked)
    every = load_tables(settings)
    wanted = {name: every[name] for name in settings.tables}
    plan = plans.make_plan(settings, wanted)
    if calibrate:
        from contrastmask.engine.calibrate import calibrate as measure

        measure(settings, plan)
        plan = plans.make_plan(settings, wanted)
    if save:
        plans.save(plan, settings.folder)
    if not quiet:
        console = Console()
        print_plan(plan, console if console.is_terminal else Console(width=240))
