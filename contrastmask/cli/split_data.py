"""`contrastmask split-data`."""

from pathlib import Path

import click


@click.command
@click.argument("annotations", type=click.Path(path_type=Path))
@click.option(
    "--val",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the images to evaluate on.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random choice.")
@click.option(
    "--group",
    metavar="TEXT",
    help="Keep images together whose file names are alike up to the last TEXT, such as _ for frames video1_0001.jpg.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the two files.  [default: that of ANNOTATIONS]",
)
def command(annotations: Path, val: float, seed: int, group: str | None, out: Path | None) -> None:
    """Split one COCO annotation file into one for training and one for evaluation, by image.

    Writes <name>-train.json and <name>-val.json; the images stay where they are. Every category that has two images or
    more is in both files where that is possible.

    \b
    Examples:
      contrastmask split-data /data/mine/annotations.json
      contrastmask split-data frames.json --val 0.1 --seed 1 --group _
    """
    from contrastmask.data.split_data import split_data
    from contrastmask.runtime.terminal import say

    done = split_data(annotations, val, seed, out or annotations.parent, group)
    for part in ("train", "val"):
        click.echo(f"{done['paths'][part]}: {done[part]} images")
    if done["lacking"]:
        say(f"not in val, for want of images: {', '.join(done['lacking'])}", error=True)
