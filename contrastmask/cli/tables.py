"""`contrastmask tables`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...", type=options.Name())
@options.scale_option
@options.results_option
@options.preset_option
@options.seeds_option("that of configs/config.yaml")
@click.option(
    "--folder", type=options.Name(), default="tables", show_default=True, help="Where to, under results/<scale>."
)
@click.option("--print", "show", is_flag=True, help="Print the tables instead of the paths written.")
def command(
    tables: tuple[str, ...],
    scale: str | None,
    results: Path | None,
    preset: str | None,
    seeds: list[int] | None,
    folder: str,
    show: bool,
) -> None:
    """Write tables from the metrics.json files that are there, as csv, md, html and tex.

    TABLE is the stem of a file in configs/tables, such as table4. Nothing is trained: rows whose run is missing say
    `not run`. `snakemake --cores 2 table4` runs what is missing and then calls this.

    \b
    Examples:
      contrastmask tables table4 --print
      contrastmask tables table1 table2 --scale paper --seeds 0,1,2
    """
    from contrastmask.config import CONFIGS, load_table
    from contrastmask.config.yamlfiles import read_yaml
    from contrastmask.report.formats import write
    from contrastmask.report.tables import build
    from contrastmask.runtime.terminal import visible

    asked = options.defaults() | options.given(scale=scale, results=results, preset=preset, seeds=seeds)
    found = read_yaml(CONFIGS / "scales" / f"{asked['scale']}.yaml", "scale")
    for table in [load_table(CONFIGS / "tables" / f"{name}.yaml", asked["preset"], scale=found) for name in tables]:
        rows = build(table, Path(asked["results"]), found, asked["seeds"], asked["preset"])
        paths = write(table, rows, Path(asked["results"]) / found["name"] / folder, found, asked["seeds"])
        click.echo(visible(paths[1].read_text(encoding="utf-8")) if show else "\n".join(map(str, paths)))
