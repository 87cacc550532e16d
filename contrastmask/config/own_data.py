"""The scale and the table for a person's own data, as `contrastmask init` writes them."""

import re
from pathlib import Path
from typing import Any

import yaml

from contrastmask import paths
from contrastmask.config.fragments import fragment, merge
from contrastmask.config.yamlfiles import load_yaml, read_yaml
from contrastmask.errors import ConfigError

SHORT, LONG = 3000, 12  # iterations that a small set gets, passes over the images that a large one gets
PASSES = 100  # over the images, at most
WARM_UP = 0.1  # of the training, at most: a recipe's own is made for its many iterations


def name_for(folder: Path, given: str | None) -> str:
    """The name of the scale and the table: the given one, or the folder's, as mine-2024 where that is 2024.

    Raises:
        ConfigError: the given one could not be asked for: no name of a scale, or read as a number, a date or null.
    """
    name = given or re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-")
    if re.fullmatch("[a-z0-9][a-z0-9-]*", name) and not _is_number(name) and isinstance(load_yaml(name), str):
        return name
    if given:
        raise ConfigError(
            f"--name {given}: give lower-case letters, digits and '-', and nothing that --config scale={given} would "
            "read as a number, a date, yes or null"
        )
    return f"mine-{name}".strip("-")


def _is_number(text: str) -> bool:
    """As Snakemake asks of what follows --config."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def scale(name: str, recipe: str, dataset: dict[str, Any], images: int) -> str:
    """configs/scales/<name>.yaml: the recipe of another scale, with a length that suits so many training images."""
    content = read_yaml(paths.CONFIGS / "scales" / f"{recipe}.yaml", "scale")
    batch = content["batch"]
    iterations = round(max(LONG * images / batch, min(SHORT, PASSES * images / batch), 1))
    if recipe == "smoke":
        iterations = min(iterations, 10)
    config = content.get("config", {})
    warmup = merge(fragment(paths.CONFIGS / "base.py"), config)["warmup_iterations"]
    content |= {
        "name": name,
        "note": f"My own data: {images} training images. The recipe is that of scale {recipe}.",
        "comparable": False,
        "dataset": dataset,
        "one_x": {"iterations": iterations},
        "checkpoint_every": max(1, min(500, iterations // 10)),
        "config": config | {"warmup_iterations": max(1, min(warmup, round(WARM_UP * iterations)))},
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
