"""`contrastmask init`."""

import re
import tempfile
from pathlib import Path
from typing import Any

import click

from contrastmask.cli import run_options as options
from contrastmask.errors import ConfigError

SHORT, LONG = 3000, 12  # iterations that a small set gets, passes over the images that a large one gets
PASSES = 100  # over the images, at most


@click.command
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", type=options.Name(), help="Of the scale and the table.  [default: the folder's name]")
@click.option(
    "--recipe",
    type=click.Choice(["coco-mini", "paper", "smoke"]),
    help="The scale to start from.  [default: paper on a machine with a GPU, coco-mini without]",
)
@click.option("--setting", default="masks2boxes", show_default=True, help="Which categories are base, which novel.")
@click.option("--crowds", type=click.Choice(["ignored", "objects"]), help="What annotations with iscrowd 1 are.")
def command(folder: Path, name: str | None, recipe: str | None, setting: str, crowds: str | None) -> None:
    """Look at a folder with your own data, and write what it takes to train on it.

    Finds the annotation files and images of train and val, verifies all of them, prints the categories with masks
    (base) and those with boxes only (novel), and writes configs/scales/NAME.yaml and configs/tables/NAME.yaml. What is
    wrong with the data is printed instead, with the fix.

    \b
    Examples:
      contrastmask init /data/mine
      contrastmask init /data/mine --name mine-large --recipe paper
    """
    from contrastmask.data.dataset import prepare
    from contrastmask.data.splits import write_split
    from contrastmask.data.survey import survey
    from contrastmask.paths import CONFIGS
    from contrastmask.runtime.files import atomic_writer
    from contrastmask.runtime.gpu import visible_gpus

    name = name or re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-") or "mine"
    files = {kind: CONFIGS / kind / f"{name}.yaml" for kind in ("scales", "tables")}
    for file in files.values():
        if file.exists():
            raise ConfigError(f"{file} exists: remove it, or give another --name")
    config = survey(folder) | ({"crowds": crowds} if crowds else {})
    checked = {key: value for key, value in config.items() if key != "root"}
    with tempfile.TemporaryDirectory() as draft:
        dataset = prepare(checked, Path(config["root"]), Path(draft) / "dataset.json")
        write_split(Path(draft) / "dataset.json", setting, Path(draft) / setting, show=True)
    for part in ("train", "val"):
        found = dataset[part]
        click.echo(f"{part}: {found['n_images']} images, {found['n_annotations']} annotations, {found['source']}")
    recipe = recipe or ("paper" if visible_gpus() else "coco-mini")
    texts = {"scales": scale(name, recipe, config, dataset["train"]["n_images"]), "tables": table(name, setting)}
    for kind, file in files.items():
        with atomic_writer(file) as stream:
            stream.write(texts[kind])
        click.echo(f"written: {file}")
    click.echo(f"Look at the data: contrastmask look --scale {name}")
    click.echo(f"Train and compare: snakemake --cores 2 --config scale={name} 'tables=[{name}]'")


def scale(name: str, recipe: str, dataset: dict[str, Any], images: int) -> str:
    """configs/scales/<name>.yaml: the recipe of another scale, with a length that suits so many training images."""
    import yaml

    from contrastmask.config.yamlfiles import read_yaml
    from contrastmask.paths import CONFIGS

    content = read_yaml(CONFIGS / "scales" / f"{recipe}.yaml", "scale")
    batch = content["batch"]
    iterations = round(max(LONG * images / batch, min(SHORT, PASSES * images / batch), 1))
    if recipe == "smoke":
        iterations = min(iterations, 10)
    content |= {
        "name": name,
        "note": f"My own data: {images} training images. The recipe is that of scale {recipe}.",
        "comparable": False,
        "dataset": dataset,
        "one_x": {"iterations": iterations},
        "checkpoint_every": max(1, min(500, iterations // 10)),
    }
    passes = batch * iterations / images
    head = f"# Written by `contrastmask init`. one_x, the length of training, is {passes:.0f} passes over the images.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def table(name: str, setting: str) -> str:
    """configs/tables/<name>.yaml: the baseline and ContrastMask."""
    return f"""\
title: {name}
caption: Masks of categories that have only boxes.
base: {{backbone: r50, schedule: 1x, setting: {setting}, mask_layers: 4}}
rows:
  - {{method: mask-rcnn}}        # the baseline: its mask head never saw a novel object
  - {{method: contrastmask}}
"""
