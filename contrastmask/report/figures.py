"""Figures 6 and 7, and objects as several runs segment them: what they show (configs/figures.yaml), drawn from arrays.

No model is run here: detections are those that evaluation wrote, maps and masks those of evaluation/examples.py.
"""

import contextlib
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from contrastmask.config import RunSpec, Settings
from contrastmask.data.dataset import read_dataset
from contrastmask.data.images import read_verified
from contrastmask.data.normalise import Originals
from contrastmask.data.splits import read_split
from contrastmask.errors import DataError
from contrastmask.evaluation.examples import crop, is_object, largest, read_examples
from contrastmask.report.drawing import Array, Instance, Panel, draw, save
from contrastmask.report.figure_rows import figure_rows, load_figures
from contrastmask.report.plots import BASE, NOVEL

FOREGROUND, BACKGROUND, UNDECIDED = "#fde725", "#440154", "#8a8f98"  # the paper's yellow and dark purple


# ---------------------------------------------------------------------------- what is shown


def choose_images(
    content: dict[str, Any],
    scale: str,
    annotations: Iterable[dict[str, Any]],
    base: Sequence[int],
    novel: Sequence[int],
) -> list[int]:
    """Ids of the images to show: those listed for the scale, or the first with objects of both sides.

    Args:
        content: of configs/figures.yaml.
        scale: the scale's name.
        annotations: COCO annotations of val.
        base, novel: category ids.

    Raises:
        DataError: a listed image is not there, or none has objects of both sides.
    """
    sides: dict[int, set[str]] = {}
    for annotation in annotations:
        found = sides.setdefault(annotation["image_id"], set())
        if is_object(annotation) and annotation["category_id"] in (*base, *novel):
            found.add("base" if annotation["category_id"] in base else "novel")
    listed = content["images"].get(scale)
    if listed:
        absent = [str(image) for image in listed if image not in sides]
        if absent:
            raise DataError(
                f"configs/figures.yaml, images.{scale}: no annotated val image has the id {', '.join(absent)}"
            )
        return list(listed)
    mixed = sorted(image for image, found in sides.items() if len(found) == 2)
    if not mixed:
        raise DataError(
            "no val image has objects of both a base and a novel category; "
            "list images for this scale in configs/figures.yaml"
        )
    return mixed[: content["count"]]


def best(detections: Iterable[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The `number` detections with the highest scores, best first; the first of equals."""
    return sorted(detections, key=lambda detection: -detection["score"])[:number]


# ---------------------------------------------------------------------------- from files to panels


class Source:
    """The val images, annotations and runs that a figure is drawn from.

    Raises:
        ConfigError, DataError: naming what is wrong or missing.
    """

    def __init__(self, figure: str, settings: Settings) -> None:
        from pycocotools.coco import COCO

        self.settings, self.seed = settings, settings.seeds[0]
        self.runs = figure_rows(figure, settings.preset, scale=settings.scale)
        self.dataset = read_dataset(settings.dataset)
        self.split = read_split(settings.split(next(iter(self.runs.values())).setting))
        with contextlib.redirect_stdout(io.StringIO()):
            self.truth = COCO(self.dataset["val"]["annotations"])
        self.names = {category["id"]: category["name"] for category in self.dataset["categories"]}
        self.images = choose_images(
            load_figures(), settings.scale["name"], self.truth.dataset["annotations"], self.split["base"],
            self.split["novel"],
        )  # fmt: skip

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Annotations of the largest novel objects; DataError if there are none."""
        found = [a for image in self.images for a in largest(self.truth.imgToAnns[image], self.split["novel"])]
        if not found:
            raise DataError(
                f"configs/figures.yaml, images.{self.settings.scale['name']}: none of these images has a novel object"
            )
        return found

    def folder(self, run: RunSpec) -> Path:
        """That of the seed that is shown."""
        return self.settings.run_folder(run.id, self.seed)

    def image(self, id: int) -> Array:
        """(H, W, 3) uint8 RGB."""
        entry = self.truth.imgs[id]
        path = Path(self.dataset["val"]["images"]) / entry["file_name"]
        return read_verified(path, (entry["width"], entry["height"]))[..., ::-1]

    def mask(self, annotation: dict[str, Any]) -> Array:
        """(H, W) bool; an object that has a box only gets no pixel."""
        size = self.truth.imgs[annotation["image_id"]]
        if not annotation.get("segmentation"):
            return np.zeros((size["height"], size["width"]), dtype=bool)
        return self.truth.annToMask(annotation).astype(bool)

    def detections(self, run: RunSpec) -> dict[int, list[dict[str, Any]]]:
        """What evaluation found and segmented on the images, by image."""
        with gzip.open(self.folder(run) / "detections.json.gz", "rt", encoding="utf-8") as file:
            every = Originals(self.truth).our_detections(d for d in json.load(file) if "segmentation" in d)
        return {image: [d for d in every if d["image_id"] == image] for image in self.images}

    def instance(self, found: dict[str, Any], mask: Array) -> Instance:
        """An annotation, or a detection with its score."""
        category, (x, y, _, _) = found["category_id"], found["bbox"]
        label = self.names[category] + (f" {found['score']:.2f}" if "score" in found else "")
        return Instance(mask, (x, y), label, category in self.split["novel"])


def figure6(source: Source) -> tuple[list[str], list[list[Panel]]]:
    """A column an image: the annotated objects, and as many detections without and with the CL head."""
    from pycocotools import mask as coco_mask

    found = [source.detections(run) for run in source.runs.values()]
    columns = []
    for id in source.images:
        image = source.image(id)
        objects = [a for a in source.truth.imgToAnns[id] if is_object(a)]
        instances = [[source.instance(a, source.mask(a)) for a in objects]]
        for of_run in found:
            shown = best(of_run[id], len(objects))
            instances.append([source.instance(d, coco_mask.decode(d["segmentation"]).astype(bool)) for d in shown])
        columns.append([Panel(image, of_row) for of_row in instances])
    return ["annotated", "without CL head", "with CL head"], columns


def figure7(source: Source) -> tuple[list[str], list[list[Panel]]]:
    """A column an object: its crop, its CAM and its pseudo mask."""
    run = next(iter(source.runs.values()))
    examples = read_examples(source.folder(run))
    columns = []
    for a in source.objects:
        image, seen = crop(source.image(a["image_id"]), a["bbox"]), examples[a["id"]]
        if "cam" not in seen:
            raise DataError(f"configs/figures.yaml, figure7: {run.id} has no class activation map: choose another row")
        columns.append([Panel(image), Panel(image, map=seen["cam"]), Panel(image, map=pseudo_mask_colours(seen))])
    return ["image", "CAM", "pseudo mask"], columns


def objects(source: Source) -> tuple[list[str], list[list[Panel]]]:
    """A column an object: its crop, its true mask, and the CAM and the mask of each run."""
    examples = {label: read_examples(source.folder(run)) for label, run in source.runs.items()}
    columns = []
    for a in source.objects:
        image, truth = (crop(whole, a["bbox"]) for whole in (source.image(a["image_id"]), source.mask(a)))
        panels = {"image": Panel(image), "true mask": Panel(image, [Instance(truth, (0, 0), "annotated", True)])}
        for label, seen in ((label, of_run[a["id"]]) for label, of_run in examples.items()):
            mask = seen["mask"]
            iou = (mask & truth).sum() / max((mask | truth).sum(), 1)
            panels |= {f"CAM\n{label}": Panel(image, map=seen["cam"])} if "cam" in seen else {}
            panels[f"mask\n{label}"] = Panel(image, [Instance(mask, (0, 0), f"IoU {iou:.2f}", True)])
        columns.append(panels)
    return list(columns[0]), [list(panels.values()) for panels in columns]


def pseudo_mask_colours(seen: dict[str, Array]) -> Array:
    """(S, S, 3) RGB in [0, 1] of `foreground` and `background`, (S, S) bool: one of three colours for each pixel."""
    image = np.full((*seen["foreground"].shape, 3), to_rgb(UNDECIDED))
    image[seen["foreground"]] = to_rgb(FOREGROUND)
    image[seen["background"]] = to_rgb(BACKGROUND)
    return image


# ---------------------------------------------------------------------------- drawing

PANELS = {"figure6": figure6, "figure7": figure7, "objects": objects}
_NOVEL = Line2D([], [], color=NOVEL, lw=2, ls="--", label="novel: learnt from boxes")
HANDLES: dict[str, list[Any]] = {
    "figure6": [Line2D([], [], color=BASE, lw=2, label="base: learnt from masks"), _NOVEL],
    "figure7": [
        Patch(facecolor=colour, edgecolor="black", label=label)
        for colour, label in ((FOREGROUND, "foreground"), (BACKGROUND, "background"), (UNDECIDED, "undecided"))
    ],
    "objects": [_NOVEL],
}


def draw_figure(figure: str, source: Source) -> list[Path]:
    """Draw a figure from what is under results/<scale>; returns the files written.

    Raises:
        DataError: naming what is missing.
    """
    rows, columns = PANELS[figure](source)
    titles = [] if figure == "figure6" else [source.names[a["category_id"]] for a in source.objects]
    scale = source.settings.scale
    note = f"scale {scale['name']}" + ("" if scale["comparable"] else ", not comparable with the paper")
    note += f" · seed {source.seed} · images {', '.join(map(str, source.images))}"
    return save(draw(rows, columns, titles, HANDLES[figure], note), source.settings.folder / "figures" / figure)
