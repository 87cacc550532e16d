"""`contrastmask export`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.run_options()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; it must not exist yet.")
def command(run: str, seed: int, scale: str | None, results: Path | None, out: Path) -> None:
    """Write a trained run as a folder to keep or to share.

    The folder holds model.safetensors, the resolved configuration (config.json), the base and novel categories
    (categories.json) and a card (README.md) with scale, data digest and commit. It needs neither the data nor the
    results any more: `contrastmask predict --model FOLDER` uses it. Nothing in it is code, and opening it runs none.

    \b
    Examples:
      contrastmask export --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper --out contrastmask-r50
      contrastmask predict photos/ --model contrastmask-r50
    """
    from contrastmask.inference.export import export
    from contrastmask.inference.trained import run_folder

    asked = options.defaults() | options.given(scale=scale, results=results)
    trained = export(run_folder(Path(asked["results"]), asked["scale"], run, seed), out)
    click.echo(f"{trained.name}: {out}")
