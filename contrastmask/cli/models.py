"""Verbs that use a trained model and hand it on."""

import sys
from pathlib import Path

import click

from contrastmask.cli import run_options as options
from contrastmask.errors import ConfigError


@click.command(short_help="Find objects in your own images with a trained model.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@options.run_options(required=False)
@click.option(
    "--model",
    type=options.PATH,
    help="Instead of --run: a folder that `export` wrote, or a checkpoint with config.json and categories.json beside.",
)
@click.option(
    "--out",
    type=options.FOLDER,
    default=Path("predictions"),
    show_default=True,
    help="Folder of the overlays and results; files of the same names are replaced.",
)
@click.option(
    "--score-threshold",
    "threshold",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Leave out detections below this score.",
)
@click.option("--device", help="cpu, cuda, cuda:1, …  [default: a GPU if there is one]")
def predict(
    images: tuple[str, ...],
    run: str | None,
    seed: int,
    scale: str | None,
    results: Path | None,
    model: Path | None,
    out: Path,
    threshold: float,
    device: str | None,
) -> None:
    """Find and segment objects in images, with a run of yours or a model that was exported.

    IMAGE is a file, a folder (searched to any depth) or a glob in quotes; the frames of a video are files too. Writes
    one overlay an image into OUT/overlays, and OUT/results.json in COCO's result format with OUT/images.json. Base
    categories have solid lines, novel ones, which the model knows from boxes only, dashed ones. A file that cannot be
    read is named and left out; the exit code is then 1.

    \b
    Examples:
      contrastmask predict photo.jpg --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper
      contrastmask predict frames/ 'holiday/**/*.jpg' --model contrastmask-r50 --out found
      contrastmask predict photos/ --model contrastmask-r50 --score-threshold 0.6 --device cpu
    """
    from contrastmask.inference.inputs import find_images

    if (run is None) == (model is None):
        raise click.UsageError("give either --run RUN or --model FOLDER")
    files = find_images(images, out)

    from contrastmask.inference import predict as output
    from contrastmask.inference.received import read_model
    from contrastmask.inference.trained import load_run
    from contrastmask.runtime.locks import on_signals
    from contrastmask.runtime.terminal import say

    trained = read_model(model) if model else load_run(_run_folder(str(run), seed, scale, results))
    with on_signals() as stop:
        done = output.predict(trained, files, out, threshold, _device(device), stop)
    novel = {category["id"] for category in trained.categories if category["split"] == "novel"}
    of_novel = sum(found["category_id"] in novel for found in done.results)
    found = f"{len(done.results) - of_novel} objects of base and {of_novel} of novel categories"
    click.echo(f"{len(done.images)} images: {found}. {out / output.OVERLAYS}, {out / output.RESULTS}")
    for path, problem in done.unreadable.items():
        say(f"not read: {path}: {problem}", error=True)
    if done.unreadable:
        sys.exit(1)


def _run_folder(run: str, seed: int, scale: str | None, results: Path | None) -> Path:
    """That of the run which the options name."""
    from contrastmask.inference.trained import run_folder

    asked = options.asked(scale=scale, results=results)
    return run_folder(asked["results"], asked["scale"], run, seed)


def _device(asked: str | None) -> str:
    """The device asked for, if it is there."""
    import torch

    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {asked}: {str(error).splitlines()[0]}") from None
    return asked


@click.command(short_help="Write a trained model as a folder to share.")
@options.run_options()
@click.option("--out", type=options.PATH, required=True, help="Folder to write; it must not exist yet.")
def export(run: str, seed: int, scale: str | None, results: Path | None, out: Path) -> None:
    """Write a trained run as a folder to keep or to share.

    The folder holds model.safetensors, the resolved configuration (config.json), the base and novel categories
    (categories.json) and a card (README.md) with scale, data digest and commit. It needs neither the data nor the
    results any more: `contrastmask predict --model FOLDER` uses it. Nothing in it is code, and opening it runs none.

    \b
    Examples:
      contrastmask export --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper --out contrastmask-r50
      contrastmask predict photos/ --model contrastmask-r50
    """
    from contrastmask.inference.export import export as write

    trained = write(_run_folder(run, seed, scale, results), out)
    click.echo(f"{trained.name}: {out}")


@click.command(short_help="Put a trained model into MLflow, with overlays of a few val images.")
@options.run_options()
@click.option("--images", type=click.IntRange(min=0), default=8, show_default=True, help="Val images to draw.")
@click.option("--device", help="cpu, cuda, cuda:1, …  [default: a GPU if there is one]")
def log_model(run: str, seed: int, scale: str | None, results: Path | None, images: int, device: str | None) -> None:
    """Put a trained model into MLflow, beside the numbers of its run: a pyfunc that takes paths of images.

    No training does this by itself: a model has the size of its weights. What it finds on the first val images is drawn
    among the run's artifacts too.

    \b
    Examples:
      contrastmask log-model --run contrastmask-paper_r50_1x_nonvoc2voc --scale paper
    """
    from contrastmask.inference.log_model import log_model as log
    from contrastmask.runtime.locks import on_signals

    with on_signals() as stop:
        run_id = log(_run_folder(run, seed, scale, results), images, _device(device), stop)
    click.echo(f"runs:/{run_id}/model")
