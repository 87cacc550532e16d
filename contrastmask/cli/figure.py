"""`contrastmask figure`."""

from typing import Any

import click

from contrastmask.cli import run_options as options


@click.command(cls=options.WithConfig)
@click.argument("figure", type=click.Choice(["figure6", "figure7", "objects"]))
@options.scale_option
@options.results_option
@options.settings_options
def command(figure: str, scale: str | None, results: Any, changes: dict[str, Any]) -> None:
    """Draw Figure 6 or 7 of the paper from finished runs, or novel objects as the rows of a table segment them.

    configs/figures.yaml names the rows and images. `snakemake figure6` makes what is missing first.

    \b
    Examples:
      contrastmask figure figure7
      contrastmask figure objects --scale coco-mini --config data_root=/data/coco-mini
    """
    from contrastmask.errors import DataError
    from contrastmask.evaluation.examples import write_examples
    from contrastmask.report.figures import Source, draw_figure
    from contrastmask.training.run import Run

    settings = options.load(changes, scale, results)
    source = Source(figure, settings)
    for run in source.runs.values():
        needed = source.folder(run) / ("detections.json.gz" if figure == "figure6" else "model.pth")
        if not needed.exists():
            raise DataError(f"{needed} is missing: run `snakemake --cores 1 {figure}`, which makes it first")
        if figure != "figure6":
            write_examples(Run.read(source.folder(run)), source.images)
    click.echo("\n".join(map(str, draw_figure(figure, settings))))
