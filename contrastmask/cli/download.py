"""`contrastmask download`."""

from pathlib import Path

import click


@click.command
@click.argument("root", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.option("--base-url", help="Another mirror than COCO's own.")
def command(root: Path, base_url: str | None) -> None:
    """Fetch COCO 2017 into FOLDER: goes on where it stopped, checks what came, unpacks it.

    Needs about 45 GB while it runs, half of it afterwards.

    \b
    Examples:
      contrastmask download /data/coco
    """
    from contrastmask.data.download import BASE_URL, download

    download(root, base_url or BASE_URL)
