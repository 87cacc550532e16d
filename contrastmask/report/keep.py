"""Keep what tables and claims are made of, small enough to commit: `python -m contrastmask.report.keep --scale mini`.

Writes results/reference/<scale>, a results folder like any other but without weights, images and detections: of these
the matches of evaluation are kept instead. `contrastmask tables` and `contrastmask claims` read it with
`--results results/reference`.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.evaluation.readings import MATCHES, Readings, ReadingsError, read_readings, read_val
from contrastmask.paths import ROOT
from contrastmask.runtime.files import atomic_writer, write_json

AS_IT_IS = ("metrics.json", "train.json", "config.json", "gt_box_iou.csv", "prior.csv")
OF_SCALE = ("claims.csv", "claims.md", "prior.csv", "prior.md")


def keep(folder: Path, out: Path) -> int:
    """Copy a scale's finished runs, tables and claims; returns the number of runs kept.

    Args:
        folder: results/<scale>.
        out: the folder to write.

    Raises:
        ReadingsError: the data or a run cannot be read.
    """
    val = read_val(folder)
    _keep_data(folder, out, val.truth.dataset)
    found = sorted((folder / "runs").glob("*/seed*/metrics.json"))
    for file in found:
        run, seed = file.parent.parent.name, int(file.parent.name.removeprefix("seed"))
        place = out / "runs" / run / f"seed{seed}"
        place.mkdir(parents=True, exist_ok=True)
        for name in AS_IT_IS:
            if (file.parent / name).exists():
                shutil.copyfile(file.parent / name, place / name)
        save_matches(read_readings(folder, run, seed, val), place / MATCHES)
    for name in OF_SCALE:
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    for table in sorted((folder / "tables").glob("*.*")):
        if table.suffix in (".csv", ".md"):
            (out / "tables").mkdir(exist_ok=True)
            shutil.copyfile(table, out / "tables" / table.name)
    return len(found)


def save_matches(readings: Readings, file: Path) -> None:
    """The matched detections of each category by mask IoU, over all areas, as a compressed npz."""
    arrays: dict[str, Any] = {}
    for category, curves in readings.segm.items():
        curve = curves[0]
        arrays[f"{category}/image"] = curve.image.astype(np.int32)
        arrays[f"{category}/hit"] = np.packbits(curve.hit, axis=0)
        arrays[f"{category}/counted"] = np.packbits(curve.counted, axis=0)
        arrays[f"{category}/truths"] = curve.truths.astype(np.int16)
    temporary = file.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(file)


def _keep_data(folder: Path, out: Path, truth: dict[str, Any]) -> None:
    """dataset.json and what claims read of val's objects: which image, which category, how large. No box, no mask."""
    dataset = json.loads((folder / "data" / "dataset.json").read_text(encoding="utf-8"))
    annotations = out / "data" / "instances_val.json"
    fields = ("id", "image_id", "category_id", "area", "iscrowd")
    content = {
        "images": [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in truth["images"]],
        "annotations": [{key: a[key] for key in fields if key in a} for a in truth["annotations"]],
        "categories": truth["categories"],
    }
    parts = {"val": {"annotations": annotations.name, "images": "not-kept"}}
    parts["train"] = {"annotations": "not-kept", "images": "not-kept"}
    write_json(out / "data" / "dataset.json", dataset | parts)
    with atomic_writer(annotations) as file:
        json.dump(content, file, separators=(",", ":"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.report.keep", description=__doc__)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference", help="its parent folder")
    given = parser.parse_args(arguments)
    out = given.out.resolve() / given.scale
    try:
        print(f"{keep(given.results / given.scale, out)} runs kept in {out}")
    except ReadingsError as error:
        parser.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
