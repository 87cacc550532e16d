"""Verbs that show what was measured: tables, claims, figures, the page."""

from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options
from contrastmask.config.rows import load_table, load_tables
from contrastmask.errors import DataError
from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.terminal import visible


@click.command(short_help="Write tables from what was measured.")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...", type=options.name)
@options.scale_option
@options.results_option
@options.preset_option
@options.seeds_option("that of configs/config.yaml")
@click.option(
    "--folder", type=options.name, default="tables", show_default=True, help="Where to, under results/<scale>."
)
@click.option("--print", "show", is_flag=True, help="Print the tables instead of the paths written.")
def tables(
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
    from contrastmask.report.formats import write
    from contrastmask.report.tables import build

    asked = options.asked(scale=scale, results=results, preset=preset, seeds=seeds)
    found = options.scale_of(asked)
    for table in [load_table(name, asked["preset"], found) for name in tables]:
        rows = build(table, asked["results"], found, asked["seeds"], asked["preset"])
        paths = write(table, rows, asked["results"] / found["name"] / folder, found, asked["seeds"])
        click.echo(visible(paths[1].read_text(encoding="utf-8")) if show else "\n".join(map(str, paths)))


@click.command(cls=options.WithConfig, short_help="Write the report of all tables as one page.")
@options.scale_option
@options.results_option
@options.settings_options
@click.option("--out", type=options.FILE, help="The page to write.  [default: results/<scale>/report/index.html]")
def report(scale: str | None, results: Path | None, changes: dict[str, Any], out: Path | None) -> None:
    """Write the report: one page with every table, the runs behind it, plots, and what is missing.

    It shows what is there, finished or not. `snakemake --cores 2 report` runs what is missing first.

    \b
    Examples:
      contrastmask report
      contrastmask report --scale paper --config data_root=/data/coco seeds=[0,1,2]
    """
    from contrastmask.report.page import write_report

    settings = options.load(changes, scale, results)
    click.echo(write_report(settings, load_tables(settings), out))


@click.command(cls=options.WithConfig, short_help="Draw Figure 6 or 7, or novel objects as several rows segment them.")
@click.argument("figure", type=click.Choice(["figure6", "figure7", "objects"]))
@options.scale_option
@options.results_option
@options.settings_options
def figure(figure: str, scale: str | None, results: Any, changes: dict[str, Any]) -> None:
    """Draw Figure 6 or 7 of the paper from finished runs, or novel objects as the rows of a table segment them.

    configs/figures.yaml names the rows and images. `snakemake figure6` makes what is missing first.

    \b
    Examples:
      contrastmask figure figure7
      contrastmask figure objects --scale coco-mini --config data_root=/data/coco-mini
    """
    from contrastmask.evaluation.examples import write_examples
    from contrastmask.report.figures import Source, draw_figure
    from contrastmask.training.run import Run

    source = Source(figure, options.load(changes, scale, results))
    for run in source.runs.values():
        needed = source.folder(run) / ("detections.json.gz" if figure == "figure6" else "model.pth")
        if not needed.exists():
            raise DataError(f"{needed} is missing: run `snakemake --cores 1 {figure}`, which makes it first")
        if figure != "figure6":
            write_examples(Run.read(source.folder(run)), source.images)
    click.echo("\n".join(map(str, draw_figure(figure, source))))


@click.command(short_help="Copy tables, claims and digests to where they are committed.")
@options.scale_option
@options.results_option
@click.option("--out", type=options.FOLDER, help="[default: <results>/reference/<scale>]")
def evidence(scale: str | None, results: Path | None, out: Path | None) -> None:
    """Copy what of a scale's results is worth committing: tables, claims with intervals, and digests of each run.

    \b
    Examples:
      contrastmask evidence --scale coco-mini
    """
    from contrastmask.report.evidence import export_evidence

    asked = options.asked(scale=scale, results=results)
    out = out or asked["results"] / "reference" / asked["scale"]
    click.echo(f"{len(export_evidence(asked['results'] / asked['scale'], out))} files in {out}")


@click.command(short_help="Say which of the paper's claims the runs support.")
@options.scale_option
@options.seeds_option("that of configs/config.yaml")
@options.preset_option
@options.results_option
@options.resamples_option
def claims(
    scale: str | None, seeds: list[int] | None, preset: str | None, results: Path | None, resamples: int
) -> None:
    """Write results/<scale>/claims.csv and claims.md: each claim of configs/claims.yaml with its effect and verdict.

    Nothing is trained: a claim whose runs are missing says `not run`. `snakemake --cores 2 claims` runs them first.

    \b
    Examples:
      contrastmask claims
      contrastmask claims --scale paper --seeds 0,1,2
    """
    from contrastmask.report.claims import claims as measure
    from contrastmask.report.claims import to_csv, to_markdown

    asked = options.asked(scale=scale, seeds=seeds, preset=preset, results=results)
    found = options.scale_of(asked)
    folder = asked["results"] / found["name"]
    measured = measure(folder, tuple(asked["seeds"]), asked["preset"], resamples=resamples, scale=found)
    texts = {"csv": to_csv(measured, found), "md": to_markdown(measured, found, resamples)}
    for suffix, text in texts.items():
        with atomic_writer(folder / f"claims.{suffix}") as file:
            file.write(text)
    click.echo(visible(texts["md"]))


@click.command(short_help="Say how two runs differ, in configuration and results.")
@click.argument("run_a", metavar="RUN_A", type=options.name)
@click.argument("run_b", metavar="RUN_B", type=options.name)
@options.scale_option
@options.seeds_option("all that both runs finished")
@click.option(
    "--subset", type=click.Choice(["novel", "base", "all"]), default="novel", show_default=True, help="Categories."
)
@options.results_option
@click.option("--html", type=options.FILE, help="Write a page as well.")
@options.resamples_option
def compare(
    run_a: str,
    run_b: str,
    scale: str | None,
    seeds: list[int] | None,
    subset: str,
    results: Path | None,
    html: Path | None,
    resamples: int,
) -> None:
    """Say how two finished runs differ: configuration, metrics with intervals, categories, object sizes, images.

    RUN_A and RUN_B are folders of results/<scale>/runs. A gain is B - A; its interval is a paired bootstrap over the
    val images, and over the seeds where both runs have several.

    \b
    Examples:
      contrastmask compare mask-rcnn_r50_1x_nonvoc2voc contrastmask-paper_r50_1x_nonvoc2voc
      contrastmask compare RUN_A RUN_B --scale paper --seeds 0,1,2 --subset base --html compare.html
    """
    from rich.console import Console

    from contrastmask.report.compare import compare as measure
    from contrastmask.report.compare_views import print_text, to_html

    asked = options.asked(scale=scale, results=results)
    found = options.scale_of(asked)
    comparison = measure(asked["results"] / found["name"], run_a, run_b, found, tuple(seeds or ()), subset, resamples)
    if html:
        with atomic_writer(html) as file:
            file.write(to_html(comparison))
    console = Console()
    print_text(comparison, console if console.is_terminal else Console(width=200))
    if html:
        click.echo(f"\nWritten: {html}")


@click.command(short_help="Compare what `diagnose` found of several runs.")
@click.argument("folder", type=options.FOLDER)
@click.argument("files", type=options.EXISTING_FILE, nargs=-1, required=True, metavar="PRIOR_CSV...")
def prior(folder: Path, files: tuple[Path, ...]) -> None:
    """Compare the priors of runs: write prior.csv and prior.md into FOLDER from those of `diagnose`.

    \b
    Examples:
      contrastmask prior results/garments results/garments/runs/*/seed*/prior.csv
    """
    from contrastmask.evaluation.prior import write_table

    write_table(folder, files)
