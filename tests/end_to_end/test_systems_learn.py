"""Every system on real photos: losses fall and masks are not boxes. Some 5 minutes a system, so only when asked for:

    CONTRASTMASK_PHOTOS=1 python -m pytest tests/end_to_end/test_systems_learn.py -s

Needs coco-mini in the shared folder. Results go to results/coco-mini-scratch, where a finished run is taken as it is.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = [
    "mask-rcnn_r50_1x_nonvoc2voc",
    "maskx-rcnn_r50_1x_nonvoc2voc_recipe-common",
    "shapemask_r50_1x_nonvoc2voc_recipe-common",
    "cpmask_r50_1x_nonvoc2voc_recipe-common",
    "shapeprop_r50_1x_nonvoc2voc_recipe-common",
    "opmask_r50_130k_nonvoc2voc",  # Table 1's row: at this scale its recipe is the common one, for 289 iterations
    "deep-marc_r50_1x_nonvoc2voc_recipe-common",
    "contrastmask-paper_r50_1x_nonvoc2voc",
    "contrastmask-official_r50_1x_nonvoc2voc",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("CONTRASTMASK_PHOTOS"), reason="set CONTRASTMASK_PHOTOS=1: 5 min a system"),
]


@pytest.mark.parametrize("run", SYSTEMS)
def test_losses_fall_and_masks_are_not_boxes(shared_dir: Path, run: str) -> None:
    target = f"results/coco-mini-scratch/runs/{run}/seed0/metrics.json"
    config = ["--config", "scale=coco-mini-scratch", f"data_root={shared_dir / 'coco-mini'}"]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", target, *config]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = (ROOT / target).parent
    first, last = first_and_last_losses(folder)
    unlike = share_unlike_the_box(folder)
    miou = json.loads((ROOT / target).read_text())["gt_box_miou"]
    print(f"\n{run}: loss {first['loss']:.2f} -> {last['loss']:.2f}, loss_mask {first['loss_mask']:.3f} -> "
          f"{last['loss_mask']:.3f}, {100 * unlike:.0f} % of masks unlike their box, "
          f"IoU in true boxes: base {miou['base']:.3f}, novel {miou['novel']:.3f}")  # fmt: skip
    assert last["loss"] < first["loss"]
    assert last["loss_mask"] < first["loss_mask"]
    assert unlike > 0.5


def first_and_last_losses(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Mean of each loss over the first and the last tenth of the training."""
    events = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    points = [e["values"] for e in events if e["event"] == "metrics" and "train/loss" in e["values"]]
    tenth = max(len(points) // 10, 1)
    names = [name for name in points[0] if "loss" in name]
    return tuple(  # type: ignore[return-value]
        {name.removeprefix("train/"): float(np.mean([p[name] for p in part])) for name in names}
        for part in (points[:tenth], points[-tenth:])
    )


def share_unlike_the_box(folder: Path) -> float:
    """Share of the detected masks whose IoU with their own box is below 0.9."""
    with gzip.open(folder / "detections.json.gz", "rt") as file:
        detections = json.load(file)
    ious = []
    for found in detections:
        box = coco_mask.frPyObjects(np.array([found["bbox"]]), *found["segmentation"]["size"])
        ious.append(coco_mask.iou([found["segmentation"]], box, [0])[0, 0])
    return float(np.mean(np.array(ious) < 0.9))
