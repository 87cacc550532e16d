"""`contrastmask claims`: the paper's claims, held against what was measured."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.scale_option
@options.seeds_option("that of configs/config.yaml")
@options.preset_option
@options.results_option
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
def command(
    scale: str | None, seeds: list[int] | None, preset: str | None, results: Path | None, resamples: int
) -> None:
    """Write results/<scale>/claims.csv and claims.md: each claim of configs/claims.yaml with its effect and verdict.

    Nothing is trained: a claim whose runs are missing says `not run`. `snakemake --cores 2 claims` runs them first.

    \b
    Examples:
      contrastmask claims
      contrastmask claims --scale paper --seeds 0,1,2
    """
    from contrastmask.config.yamlfiles import read_yaml
    from contrastmask.paths import CONFIGS
    from contrastmask.report.claims import claims, to_csv, to_markdown
    from contrastmask.runtime.files import atomic_writer
    from contrastmask.runtime.terminal import visible

    asked = options.defaults() | options.given(scale=scale, seeds=seeds, preset=preset, results=results)
    found = read_yaml(CONFIGS / "scales" / f"{asked['scale']}.yaml", "scale")
    folder = Path(asked["results"]) / found["name"]
    measured = claims(folder, tuple(asked["seeds"]), asked["preset"], resamples=resamples, scale=found)
    texts = {"csv": to_csv(measured, found), "md": to_markdown(measured, found, resamples)}
    for suffix, text in texts.items():
        with atomic_writer(folder / f"claims.{suffix}") as file:
            file.write(text)
    click.echo(visible(texts["md"]))
