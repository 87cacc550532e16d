"""`contrastmask configure`."""

from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--seed", type=click.IntRange(min=0), help="Of the runs.  [default: each of configs/config.yaml]")
@options.settings_options
def command(runs: tuple[str, ...], seed: int | None, changes: dict[str, Any]) -> None:
    """Write config.json of runs: everything that is decided about each, in its folder.

    RUN is a run's id; without one, every run of the configuration's tables. What follows reads the folder and nothing
    else: `contrastmask train FOLDER`, `contrastmask evaluate FOLDER`. A file that says the same already is left alone.
    Prints the folders.

    \b
    Examples:
      contrastmask configure contrastmask-paper_r50_1x_nonvoc2voc
      contrastmask configure --config scale=paper data_root=/data/coco tables=[table2] seeds=[0,1,2]
    """
    from contrastmask.config import all_runs, find_run, load_tables, runfile

    settings = options.load(changes)
    tables = load_tables(settings)
    wanted = [find_run(tables, run) for run in runs] or all_runs({n: tables[n] for n in settings.tables}).values()
    rows = runfile.rows_of(tables.values())
    for run in wanted:
        for each in settings.seeds if seed is None else [seed]:
            folder = settings.run_folder(run.id, each)
            runfile.write(folder, runfile.describe(run, each, settings, rows.get(run.id, ())))
            click.echo(folder)
