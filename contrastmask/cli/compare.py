"""`contrastmask compare`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@click.argument("run_a", metavar="RUN_A", type=options.Name())
@click.argument("run_b", metavar="RUN_B", type=options.Name())
@options.scale_option
@options.seeds_option("all that both runs finished")
@click.option(
    "--subset", type=click.Choice(["novel", "base", "all"]), default="novel", show_default=True, help="Categories."
)
@options.results_option
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page as well.")
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
def command(
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

    from contrastmask.config.yamlfiles import read_yaml
    from contrastmask.paths import CONFIGS
    from contrastmask.report.compare import compare
    from contrastmask.report.compare_views import print_text, to_html
    from contrastmask.runtime.files import atomic_writer

    asked = options.defaults() | options.given(scale=scale, results=results)
    found = read_yaml(CONFIGS / "scales" / f"{asked['scale']}.yaml", "scale")
    folder = Path(asked["results"]) / found["name"]
    comparison = compare(folder, run_a, run_b, found, tuple(seeds or ()), subset, resamples)
    if html:
        with atomic_writer(html) as file:
            file.write(to_html(comparison))
    console = Console()
    print_text(comparison, console if console.is_terminal else Console(width=200))
    if html:
        click.echo(f"\nWritten: {html}")
