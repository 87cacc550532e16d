"""`contrastmask evidence`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.scale_option
@options.results_option
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="[default: <results>/reference/<scale>]")
def command(scale: str | None, results: Path | None, out: Path | None) -> None:
    """Copy what of a scale's results is worth committing: tables, claims with intervals, and digests of each run.

    \b
    Examples:
      contrastmask evidence --scale coco-mini
    """
    from contrastmask.report.evidence import export_evidence

    asked = options.defaults() | options.given(scale=scale, results=results)
    folder = Path(asked["results"]) / asked["scale"]
    out = out or Path(asked["results"]) / "reference" / asked["scale"]
    click.echo(f"{len(export_evidence(folder, out))} files in {out}")
