"""A trained detector in a program of one's own: load a model, predict an image, get arrays."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.data.images import ImageError
from contrastmask.inference import received
from contrastmask.inference.trained import Trained

THRESHOLD = 0.3  # detections of a lower score are left out


@dataclass(frozen=True)
class Found:
    """The N objects of an image, best first."""

    boxes: np.ndarray
    """(N, 4) float, x1, y1, x2, y2 in pixels."""
    scores: np.ndarray
    """(N,) float in [0, 1]."""
    labels: np.ndarray
    """(N,) int, places in `Model.categories`."""
    names: tuple[str, ...]
    """(N,), of the categories."""
    novel: np.ndarray
    """(N,) bool: the category had boxes only in training."""
    masks: np.ndarray
    """(N, H, W) bool."""
    coco: tuple[dict[str, Any], ...]
    """The same in COCO's result format, masks as compressed RLE; `category_id` is the data's."""

    def __len__(self) -> int:
        return len(self.scores)

    def to_supervision(self) -> Any:
        """As `supervision.Detections`, for its annotators and trackers (pip install supervision)."""
        from supervision import Detections

        return Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.labels, mask=self.masks,
            data={"class_name": np.array(self.names, dtype=str)},
        )  # fmt: skip


class Model:
    """A detector with the pipeline of evaluation: its transforms, its `predict_image`.

    Args:
        read: what it is built from.
        device: as torch names it.

    Raises:
        ConfigError: the detector cannot be built.
    """

    def __init__(self, read: Trained, device: str) -> None:
        from mmengine.dataset import Compose

        self.categories = read.categories
        """In the order of the labels, each with `id`, `name` and `split` ("base" or "novel")."""
        self.id_of_data = {category["id"]: category.get("original_id", category["id"]) for category in read.categories}
        """Of each category's `id`, that of the annotation files that were trained on."""
        self.device = device
        self._network = read.detector(device)
        from contrastmask.training.build import test_pipeline

        self._load, *self._prepare = Compose(test_pipeline(read.config)).transforms

    def predict(self, image: str | os.PathLike[str], threshold: float = THRESHOLD) -> Found:
        """Find and segment the objects in an image file.

        Args:
            image: its path.
            threshold: detections of a lower score are left out.

        Raises:
            ImageError: the file cannot be read as an image; the message says why.
        """
        try:
            pixels, entries = self.detect(Path(image), 1, threshold)
        except ImageError as problem:
            raise ImageError(problem.kind, f"{os.fspath(image)}: {problem}") from None
        return self._found(entries, pixels.shape[:2])

    def detect(self, image: Path, number: int, threshold: float) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """The pixels (H, W, 3) in RGB, turned as the file's EXIF says, and the objects in them, best first.

        These are in COCO's result format, `number` the image's id there; `category_id` is an `id` of `categories`.

        Raises:
            ImageError: saying why the file cannot be read.
        """
        import cv2
        from pycocotools.coco import COCO

        from contrastmask.evaluation.evaluate import predict_image

        sample = self._load({"img_path": str(image), "img_id": number})
        pixels = np.ascontiguousarray(sample["img"][..., ::-1])
        try:
            for transform in self._prepare:
                sample = transform(sample)
        except cv2.error:
            height, width = pixels.shape[:2]
            raise ImageError("thin", f"is {width}x{height}, too thin for the model's size of images") from None
        entries, _ = predict_image(self._network, sample, COCO(), [category["id"] for category in self.categories])
        return pixels, sorted((e for e in entries if e["score"] >= threshold), key=lambda e: -e["score"])

    def _found(self, entries: Sequence[dict[str, Any]], size: tuple[int, int]) -> Found:
        from pycocotools import mask as coco_mask

        label_of = {category["id"]: label for label, category in enumerate(self.categories)}
        labels = [label_of[entry["category_id"]] for entry in entries]
        masks = [coco_mask.decode(entry["segmentation"]).astype(bool) for entry in entries]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in entries)]
        return Found(
            boxes=np.array(corners, dtype=float).reshape(-1, 4),
            scores=np.array([entry["score"] for entry in entries], dtype=float),
            labels=np.array(labels, dtype=int),
            names=tuple(self.categories[label]["name"] for label in labels),
            novel=np.array([self.categories[label]["split"] == "novel" for label in labels], dtype=bool),
            masks=np.stack(masks) if masks else np.zeros((0, *size), dtype=bool),
            coco=tuple(entry | {"category_id": self.id_of_data[entry["category_id"]]} for entry in entries),
        )


def load_model(path: str | os.PathLike[str], device: str | None = None) -> Model:
    """An exported folder, the folder of a trained run, or a weights file with config.json and categories.json beside.

    Nothing that is read is run as code (docs/trust.md).

    Args:
        path: of it.
        device: as torch names it; a GPU if there is one.

    Raises:
        ConfigError: a file is missing, cannot be read, or holds what is not taken from elsewhere.
        CheckpointError: the weights of a run are damaged.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(received.read_model(Path(path)), device)
