"""`contrastmask look`."""

from pathlib import Path

import click

from contrastmask.cli import run_options as options


@click.command
@options.scale_option
@options.results_option
@click.option(
    "--setting",
    type=options.Name(),
    default="masks2boxes",
    show_default=True,
    help="Which categories are base, which novel.",
)
@click.option("--images", type=click.IntRange(1, 100), default=16, show_default=True, help="How many to show.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("look.png"),
    show_default=True,
    help="Picture to write.",
)
def command(scale: str | None, results: Path | None, setting: str, images: int, seed: int, out: Path) -> None:
    """Draw training images with what training learns from: masks of base categories, boxes of novel ones.

    From the verified data of a scale, which is made first if it is not there.

    \b
    Examples:
      contrastmask look --scale mine
      contrastmask look --scale coco-mini --setting nonvoc2voc --images 9 --out coco-mini.png
    """
    from contrastmask.data.dataset import prepare, read_dataset
    from contrastmask.data.splits import write_split
    from contrastmask.inference.look import look

    settings = options.load({}, scale, results)
    described, split = settings.dataset, settings.split(setting)
    if not described.exists():
        config = {key: value for key, value in settings.scale["dataset"].items() if key != "root"}
        prepare(config, Path(settings.data_root or described.parent / "synthetic"), described)
    if not split.exists():
        write_split(described, setting, split.parent)
    picture = look(read_dataset(described), split, images, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    click.echo(f"{out}: {picture.width}x{picture.height}, solid lines base, dashed novel")
