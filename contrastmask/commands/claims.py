"""`contrastmask claims`: the paper's claims, held against what was measured."""

from pathlib import Path

import click

from contrastmask.commands.compare import numbers
from contrastmask.options import PRESETS


@click.command
@click.option("--scale", help="A file in configs/scales.  [default: config.yaml's, smoke]")
@click.option("--seeds", callback=numbers, help="Seeds, such as 0,1,2.  [default: config.yaml's]")
@click.option("--preset", type=click.Choice(PRESETS), help="Preset of rows that name none.  [default: config.yaml's]")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of results.  [default: config.yaml's, results]",
)
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
def command(
    scale: str | None, seeds: tuple[int, ...], preset: str | None, results: Path | None, resamples: int
) -> None:
    """Write results/<scale>/claims.csv and claims.md: each claim of configs/claims.yaml with its effect and verdict.

    Nothing is trained: a claim whose runs are missing says `not run`. `snakemake --cores 2 claims` runs them first.

    \b
    Example:
      contrastmask claims --scale paper --seeds 0,1,2
    """
    from contrastmask.data.files import atomic_writer
    from contrastmask.report.claims import claims, to_csv, to_markdown
    from contrastmask.yamlfiles import CONFIGS, read_yaml

    defaults = read_yaml(CONFIGS / "config.yaml", "config")
    found = read_yaml(CONFIGS / "scales" / f"{scale or defaults['scale']}.yaml", "scale")
    folder = (results or Path(defaults["results"])) / found["name"]
    seeds = seeds or tuple(defaults["seeds"])
    measured = claims(folder, seeds, preset or defaults["preset"], resamples=resamples)
    texts = {"csv": to_csv(measured, found), "md": to_markdown(measured, found, resamples)}
    for suffix, text in texts.items():
        with atomic_writer(folder / f"claims.{suffix}") as file:
            file.write(text)
    click.echo(texts["md"])


if __name__ == "__main__":
    command()
