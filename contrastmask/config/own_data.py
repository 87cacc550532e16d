"""The scale and the table for a person's own data, as `contrastmask init` writes them."""

from typing import Any

import yaml

from contrastmask import paths
from contrastmask.config.fragments import fragment, merge
from contrastmask.config.yamlfiles import read_yaml

SHORT, LONG = 3000, 12  # iterations that a small set gets, passes over the images that a large one gets
PASSES = 100  # over the images, at most
WARM_UP = 0.1  # of the training, at most: a recipe's own is made for its many iterations


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
