"""What the tests of this folder share."""

from pathlib import Path

import numpy as np
from PIL import Image

RUN = "contrastmask-paper_r50_1x_nonvoc2voc"


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (96, 72)) -> Path:
    """A picture of noise in large patches; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(patches).resize(size).save(path)
    return path
