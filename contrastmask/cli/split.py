"""`contrastmask split`."""

from pathlib import Path

import click


@click.command
@click.argument("setting")
@click.option("--dataset", type=click.Path(path_type=Path, dir_okay=False), required=True, help="dataset.json.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option("--show", is_flag=True, help="Print the categories of both sides with their counts; write nothing.")
@click.option("--all-masks", is_flag=True, help="Keep novel masks, for an upper bound that breaks the protocol.")
def command(setting: str, dataset: Path, out: Path | None, show: bool, all_masks: bool) -> None:
    """Write training annotations in which each novel mask is replaced by its box.

    SETTING is <base>2<novel>, two lists of categories in configs/splits; `masks2boxes` goes by which categories have
    masks.

    \b
    Examples:
      contrastmask split masks2boxes --dataset results/mine/data/dataset.json --show
      contrastmask split nonvoc2voc --dataset results/smoke/data/dataset.json --out results/smoke/data/nonvoc2voc
    """
    if (out is None) != show:
        raise click.UsageError("give either --out FOLDER or --show")

    from contrastmask.config.settings import ALL_MASKS
    from contrastmask.data.all_masks import write_all_masks
    from contrastmask.data.splits import show_split, write_split

    if out is None:
        show_split(dataset, setting)
    elif all_masks:
        write_all_masks(dataset, setting, out / ALL_MASKS)
    else:
        write_split(dataset, setting, out)
