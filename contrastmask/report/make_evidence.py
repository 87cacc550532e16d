"""Pictures behind docs/evidence.md: `python -m contrastmask.report.make_evidence [--settings JSON]`.

objects.png: novel val objects as the rows of Table 2 segment them in their true boxes. curves.png: losses of the same
runs. The first seed is shown. Made by `snakemake evidence`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.config import load_table, settings_from_json
from contrastmask.errors import ConfigError, DataError, OptionError
from contrastmask.evaluation.look import see, trained_model, val_samples
from contrastmask.paths import CONFIGS
from contrastmask.report.curves import draw_curves, read_losses
from contrastmask.report.drawing import SegmentedObject, draw_objects, save
from contrastmask.report.figures import choose_images, largest, load_figures
from contrastmask.report.make_figures import crop, read_image
from contrastmask.training.run import Run

TABLE, OBJECTS = "table2", 2  # of each image


def segment(run: Run, images: Sequence[int], truth: Any) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Of the largest novel objects of `images`: the run's masks (h, w) in their true boxes, and its CAMs (S, S).

    Masks are cropped to the boxes. A run without a class activation map has None in their place.
    """
    import torch
    from mmdet.structures.bbox import bbox2roi

    model, sample_of = trained_model(run), val_samples(run)
    ids = [category["id"] for category in run.dataset["categories"]]
    masks: list[np.ndarray] = []
    cams: list[np.ndarray | None] = []
    for image in images:
        objects = largest(truth.imgToAnns[image], run.split["novel"], OBJECTS)
        if not objects:
            continue
        with torch.no_grad():
            seen = see(model, sample_of(image))
            found = seen.masks_in_boxes(model, objects, ids)
            if hasattr(model.roi_head, "pseudo_masks"):
                rois, labels = bbox2roi([seen.boxes(objects)]), seen.labels(objects, ids)
                cams += list(model.roi_head.pseudo_masks(seen.features, rois, labels)[0].cpu().numpy())
            else:
                cams += [None] * len(objects)
        whole = found.cpu().numpy().astype(bool)
        masks += [crop(mask, a["bbox"]) for mask, a in zip(whole, objects, strict=True)]
    return masks, cams


def make(settings_json: str) -> list[Path]:
    """Draw both pictures from what is under results/<scale>; returns the files written.

    Raises:
        ConfigError, DataError: naming what is wrong or missing.
    """
    settings = settings_from_json(settings_json)
    rows = [row for row in load_table(CONFIGS / "tables" / f"{TABLE}.yaml", settings.preset).rows if row.run]
    runs = {row.label: Run.read(settings.run_folder(row.run.id, settings.seeds[0])) for row in rows if row.run}
    for run in runs.values():
        if not (run.folder / "model.pth").exists():
            raise DataError(f"{run.folder / 'model.pth'} is missing: `snakemake --cores 1 evidence` makes it first")
    from pycocotools.coco import COCO

    first = next(iter(runs.values()))
    truth = COCO(first.dataset["val"]["annotations"])
    split = first.split
    images = choose_images(
        load_figures(), settings.scale["name"], truth.dataset["annotations"], split["base"], split["novel"]
    )
    objects = [a for image in images for a in largest(truth.imgToAnns[image], split["novel"], OBJECTS)]
    names = {category["id"]: category["name"] for category in first.dataset["categories"]}
    segmented = {label: segment(run, images, truth) for label, run in runs.items()}
    drawn = [
        SegmentedObject(
            crop=crop(read_image(first, truth, a["image_id"]), a["bbox"]),
            truth=crop(truth.annToMask(a).astype(bool), a["bbox"]),
            cams={label: cam for label, (_, cams) in segmented.items() if (cam := cams[i]) is not None},
            masks={label: masks[i] for label, (masks, _) in segmented.items()},
            label=names[a["category_id"]],
        )
        for i, a in enumerate(objects)
    ]
    note = f"scale {settings.scale['name']} · seed {settings.seeds[0]} · novel objects in their true boxes"
    folder = settings.folder / "figures"
    losses = {label: read_losses(run.folder) for label, run in runs.items()}
    return [*save(draw_objects(drawn, note), folder / "objects"), *save(draw_curves(losses, note), folder / "curves")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.report.make_evidence", description=__doc__)
    parser.add_argument("--settings", default="{}", help="JSON of what differs from configs/config.yaml")
    given = parser.parse_args(arguments)
    try:
        print("\n".join(map(str, make(given.settings))))
    except (ConfigError, DataError, OptionError, json.JSONDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
