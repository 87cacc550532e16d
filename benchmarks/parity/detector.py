"""The whole released detector beside this project's, as each is used: from a photo's file to boxes and masks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor

from benchmarks.parity.inputs import config
from benchmarks.parity.lines import gap, say
from benchmarks.parity.released import Released
from contrastmask.training.build import test_pipeline


class Ours:
    """This project's detector with evaluation's pipeline."""

    def __init__(self, detector: Any) -> None:
        self.detector, self.prepare = detector, Compose(test_pipeline(config("official")))

    def read(self, photo: Path) -> Tensor:
        """The network's input (1, 3, H, W)."""
        return self.detector.data_preprocessor(self._batch(photo), False)["inputs"]

    def detect(self, photo: Path) -> Any:
        """Boxes, scores, labels and masks in the photo's pixels, by falling score."""
        with torch.no_grad():
            return self.detector.test_step(self._batch(photo))[0].pred_instances

    def _batch(self, photo: Path) -> dict[str, Any]:
        return pseudo_collate([self.prepare({"img_path": str(photo), "img_id": 1})])


def compare(theirs: Released, detector: Any, ours: Ours, photos: list[Path]) -> None:
    """Boxes, scores, labels and pixels of pasted masks, class by class as their code returns them."""
    for photo in photos:
        with theirs.packages():
            boxes, masks = theirs.api.inference_detector(detector, str(photo))
        found = ours.detect(photo)
        order = torch.argsort(found.labels, stable=True)
        theirs_flat, labels = np.concatenate(boxes), np.repeat(range(len(boxes)), [len(b) for b in boxes])
        name, number = f"detector on {photo.name}:", f"{len(labels)} detections"
        say(f"{name} detections", number, abs(len(labels) - len(order)), 0)
        if len(labels) != len(order):
            continue
        say(f"{name} boxes", number, gap(found.bboxes[order], theirs_flat[:, :4]), 1e-3)
        say(f"{name} scores", number, gap(found.scores[order], theirs_flat[:, 4]), 1e-6)
        say(f"{name} labels", number, int((found.labels[order].numpy() != labels).sum()), 0)
        pasted = np.stack([mask for of_class in masks for mask in of_class])
        wrong = int((found.masks[order].numpy() != pasted).sum())
        say(f"{name} pixels of masks", f"{pasted.sum()} mask pixels", wrong, int(pasted.sum()) // 5000)
