"""`contrastmask report`."""

import json
from pathlib import Path
from typing import Any

import click

from contrastmask.experiment import load_tables, settings_from_json
from contrastmask.options import OptionError
from contrastmask.yamlfiles import ConfigError


@click.command
@click.option("--scale", help="A file in configs/scales.  [default: that of configs/config.yaml]")
@click.option("--results", type=click.Path(file_okay=False), help="Folder of results.  [default: results]")
@click.option("--settings", default="{}", help="JSON of what differs from configs/config.yaml.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write.  [default: results/<scale>/report/index.html]",
)
def command(scale: str | None, results: str | None, settings: str, out: Path | None) -> None:
    """Write the report: one page with every table, the runs behind it, plots, and what is missing.

    It shows what is there, finished or not. `snakemake --cores 2 report` runs what is missing first.

    \b
    Examples:
      contrastmask report
      contrastmask report --scale paper --settings '{"data_root": "/data/coco", "seeds": [0, 1, 2]}'
    """
    from contrastmask.report.page.build import write_report

    try:
        checked = settings_from_json(json.dumps(_changes(settings, scale=scale, results=results)))
        tables = load_tables(checked)
    except (ConfigError, OptionError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(write_report(checked, tables, out))


def _changes(settings: str, **given: str | None) -> dict[str, Any]:
    """What differs from configs/config.yaml; an option of its own goes before --settings."""
    try:
        changes = json.loads(settings)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"--settings is not JSON: {error}") from None
    if not isinstance(changes, dict):
        raise click.UsageError('--settings must be a JSON object such as \'{"data_root": "/data/coco"}\'')
    return changes | {key: value for key, value in given.items() if value is not None}


if __name__ == "__main__":
    command()
