"""What the tests of this folder share."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contrastmask.config import config_hash

RUN = "contrastmask-paper_r50_1x_nonvoc2voc"


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (96, 72)) -> Path:
    """A picture of noise in large patches; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize(size).save(path)
    return path


def run_file(config: dict[str, Any]) -> dict[str, Any]:
    """config.json of the run RUN with such a resolved configuration."""
    files = {"results": "../../../..", "dataset": "../../../data/dataset.json", "weights": None, "priors": None}
    files |= {"split": "../../../data/nonvoc2voc/split.json", "annotations": "none", "detector": None}
    return {
        "run": RUN,
        "seed": 0,
        "scale": {"name": "smoke", "note": "Small.", "comparable": False},
        "method": "contrastmask",
        "backbone": "r50",
        "schedule": "1x",
        "setting": "nonvoc2voc",
        "preset": "paper",
        "options": {},
        "table_rows": [],
        "files": files,
        "gpus_per_run": 1,
        "images_per_gpu": 2,
        "threads": 1,
        "workers": 0,
        "checkpoint_every": 10,
        "config_hash": config_hash(config),
        "config": config,
    }
