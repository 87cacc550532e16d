"""`contrastmask diagnose`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.run_folder
def command(folder: Path) -> None:
    """Look at a trained ContrastMask's class activation map on the validation objects, novel and base.

    Writes prior.csv beside model.pth: per object whether its class is right, whether the map's confident areas are, and
    how well features tell the object from its surroundings. Prints the means.

    \b
    Examples:
      contrastmask diagnose results/mini/runs/contrastmask-paper_r50_1x_nonvoc2voc/seed0
    """
    from contrastmask.evaluation.diagnose import start
    from contrastmask.evaluation.prior import MEASURES, means
    from contrastmask.training.run import Run

    lines = start(Run.read(folder))
    of_split = [means(lines[lines["split"] == split]) for split in ("novel", "base")]
    click.echo(f"{'novel':>8} {'base':>8}")
    for name, meaning in MEASURES.items():
        values = (found[name] for found in of_split)
        click.echo(" ".join(f"{'–':>8}" if v != v else f"{v:8.3f}" for v in values) + f"  {meaning}")
