"""`contrastmask compare`."""

from pathlib import Path

import click


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers between commas."""
    parts = [part.strip() for part in value.split(",")] if value else []
    if not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{value!r} is not whole numbers between commas, such as 0,1,2")
    return tuple(map(int, parts))


@click.command
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option("--scale", help="A file in configs/scales.  [default: config.yaml's, smoke]")
@click.option("--seeds", callback=numbers, help="Seeds, such as 0,1,2.  [default: all that both runs finished]")
@click.option(
    "--subset", type=click.Choice(["novel", "base", "all"]), default="novel", show_default=True, help="Categories."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of results.  [default: config.yaml's, results]",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page as well.")
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
def command(
    run_a: str,
    run_b: str,
    scale: str | None,
    seeds: tuple[int, ...],
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

    from contrastmask.data.files import atomic_writer
    from contrastmask.report.compare import compare
    from contrastmask.report.compare_views import print_text, to_html
    from contrastmask.yamlfiles import CONFIGS, read_yaml

    defaults = read_yaml(CONFIGS / "config.yaml", "config")
    found = read_yaml(CONFIGS / "scales" / f"{scale or defaults['scale']}.yaml", "scale")
    folder = (results or Path(defaults["results"])) / found["name"]
    comparison = compare(folder, run_a, run_b, found, seeds, subset, resamples)
    if html:
        with atomic_writer(html) as file:
            file.write(to_html(comparison))
    console = Console()
    print_text(comparison, console if console.is_terminal else Console(width=200))
    if html:
        click.echo(f"\nWritten: {html}")


if __name__ == "__main__":
    command()
