"""Make a figure: `python -m contrastmask.report.make_figures figure6 [--settings JSON]`, figure7 alike.

Figure 6 shows the detections that evaluation wrote, so no model is run. Figure 7 runs one model on a few val images:
the CAM and the pseudo masks are the model's own, from the same functions as in training. The first seed is shown.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.config import settings_from_json
from contrastmask.data.images import read_verified
from contrastmask.errors import ConfigError, DataError, OptionError
from contrastmask.evaluation.look import corners, see, trained_model, val_samples
from contrastmask.report.drawing import Instance, Pair, PseudoMask, draw_figure6, draw_figure7, save
from contrastmask.report.figures import best, choose_images, figure_runs, is_object, largest, load_figures
from contrastmask.training.run import Run

OBJECTS = 2  # of each image in Figure 7


def figure6(runs: Sequence[Run], images: Sequence[int], truth: Any) -> list[Pair]:
    """A column for each image: the annotated objects, and as many detections of both runs.

    Args:
        runs: without and with the CL head.
        images: ids.
        truth: pycocotools' COCO of val.
    """
    found = [_detections(run.folder / "detections.json.gz", images) for run in runs]
    names = {category["id"]: category["name"] for category in runs[0].dataset["categories"]}
    novel = set(runs[0].split["novel"])
    pairs = []
    for image in images:
        objects = [a for a in truth.imgToAnns[image] if is_object(a)]
        size = (truth.imgs[image]["height"], truth.imgs[image]["width"])
        annotated = [
            Instance(_annotated_mask(a, truth, size), (a["bbox"][0], a["bbox"][1]), names[a["category_id"]],
                     a["category_id"] in novel)
            for a in objects
        ]  # fmt: skip
        detected = [[_instance(d, names, novel) for d in best(of_run[image], len(objects))] for of_run in found]
        pairs.append(Pair(read_image(runs[0], truth, image), annotated, *detected))
    return pairs


def _detections(path: Path, images: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        detections = json.load(file)
    found: dict[int, list[dict[str, Any]]] = {image: [] for image in images}
    for detection in detections:
        if detection["image_id"] in found:
            found[detection["image_id"]].append(detection)
    return found


def _instance(detection: dict[str, Any], names: dict[int, str], novel: set[int]) -> Instance:
    from pycocotools import mask as coco_mask

    category, (x, y, _, _) = detection["category_id"], detection["bbox"]
    label = f"{names[category]} {detection['score']:.2f}"
    return Instance(coco_mask.decode(detection["segmentation"]).astype(bool), (x, y), label, category in novel)


def _annotated_mask(annotation: dict[str, Any], truth: Any, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool; an object that has a box only gets no pixel."""
    if not annotation.get("segmentation"):
        return np.zeros(size, dtype=bool)
    return truth.annToMask(annotation).astype(bool)


def figure7(run: Run, images: Sequence[int], truth: Any) -> list[PseudoMask]:
    """A column for each of the largest novel objects: its crop, its CAM and its pseudo mask.

    Args:
        run: a run of ContrastMask, whose weights are read.
        images: ids.
        truth: pycocotools' COCO of val.
    """
    model, sample_of = trained_model(run), val_samples(run)
    columns = []
    for image in images:
        objects = largest(truth.imgToAnns[image], run.split["novel"], OBJECTS)
        if objects:
            whole = read_image(run, truth, image)
            columns += _pseudo_masks(model, sample_of(image), objects, whole, run.dataset["categories"])
    return columns


def _pseudo_masks(
    model: Any, sample: dict[str, Any], objects: Sequence[dict[str, Any]], image: np.ndarray, categories: list[dict]
) -> list[PseudoMask]:
    """The objects' boxes through the model, as RoIs of training are."""
    import torch
    from mmdet.structures.bbox import bbox2roi

    ids = [category["id"] for category in categories]
    with torch.no_grad():
        seen = see(model, sample)
        labels = seen.labels(objects, ids)
        cams, regions = model.roi_head.pseudo_masks(seen.features, bbox2roi([seen.boxes(objects)]), labels)
    maps = [m.cpu().numpy() for m in (cams, *regions)]
    return [
        PseudoMask(crop(image, a["bbox"]), cam, foreground, background, categories[label]["name"])
        for a, label, cam, foreground, background in zip(objects, labels.tolist(), *maps, strict=True)
    ]


def crop(image: np.ndarray, bbox: Sequence[float]) -> np.ndarray:
    """The pixels of (H, W, 3) that a box x, y, w, h touches: at least one."""
    x1, y1, x2, y2 = corners(list(bbox))
    top, left = min(int(y1), image.shape[0] - 1), min(int(x1), image.shape[1] - 1)
    return image[top : max(int(np.ceil(y2)), top + 1), left : max(int(np.ceil(x2)), left + 1)]


def read_image(run: Run, truth: Any, image: int) -> np.ndarray:
    """A val image, (H, W, 3) uint8 RGB."""
    entry = truth.imgs[image]
    path = Path(run.dataset["val"]["images"]) / entry["file_name"]
    return read_verified(path, (entry["width"], entry["height"]))[..., ::-1]


def make(figure: str, settings_json: str) -> list[Path]:
    """Draw a figure from what is under results/<scale>; returns the files written.

    Raises:
        ConfigError, DataError: naming what is wrong or missing.
    """
    settings = settings_from_json(settings_json)
    seed = settings.seeds[0]
    runs = [Run.read(settings.run_folder(run.id, seed)) for run in figure_runs(figure, settings.preset)]
    for run in runs:
        needed = run.folder / ("detections.json.gz" if figure == "figure6" else "model.pth")
        if not needed.exists():
            raise DataError(f"{needed} is missing: run `snakemake --cores 1 {figure}`, which makes it first")
    from pycocotools.coco import COCO

    truth = COCO(runs[0].dataset["val"]["annotations"])
    split = runs[0].split
    images = choose_images(
        load_figures(), settings.scale["name"], truth.dataset["annotations"], split["base"], split["novel"]
    )
    note = f"scale {settings.scale['name']}" + (
        "" if settings.scale["comparable"] else ", not comparable with the paper"
    )
    note += f" · seed {seed} · images {', '.join(map(str, images))}"
    if figure == "figure6":
        drawn = draw_figure6(figure6(runs, images, truth), note)
    else:
        drawn = draw_figure7(figure7(runs[0], images, truth), note)
    return save(drawn, settings.folder / "figures" / figure)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.report.make_figures", description=__doc__)
    parser.add_argument("figure", choices=("figure6", "figure7"))
    parser.add_argument("--settings", default="{}", help="JSON of what differs from configs/config.yaml")
    given = parser.parse_args(arguments)
    try:
        print("\n".join(map(str, make(given.figure, given.settings))))
    except (ConfigError, DataError, OptionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
