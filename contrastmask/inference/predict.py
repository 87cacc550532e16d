"""A trained detector on images of one's own: overlays, and results in COCO's format.

The same path as evaluation: its test pipeline, its `predict_image`, its `coco_results`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.data.images import ImageError
from contrastmask.errors import ConfigError
from contrastmask.inference.inputs import overlay_names
from contrastmask.inference.overlay import draw
from contrastmask.inference.trained import Trained
from contrastmask.runtime.files import write_json
from contrastmask.runtime.locks import Interrupted, Stop
from contrastmask.runtime.progress import Progress

OVERLAYS, RESULTS, IMAGES = "overlays", "results.json", "images.json"


@dataclass
class Predicted:
    """What was found: COCO results, COCO's entries of the images that were read, and the files that were not."""

    results: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def predict(trained: Trained, images: list[Path], out: Path, threshold: float, device: str, stop: Stop) -> Predicted:
    """Detect in every image; write out/overlays/*, out/results.json and out/images.json.

    results.json is a list in COCO's result format; images.json names images and categories (with `split`) as COCO's
    annotation files do, so that `COCO("images.json").loadRes("results.json")` reads both. An image's id is its place
    in `images`, from 1; a category's is that of the annotation files that were trained on.

    Args:
        trained: the detector.
        images: files; those that cannot be read are left out and named in the result.
        out: folder; files of the same names are replaced.
        threshold: detections of a lower score are left out.
        device: as torch names it.
        stop: set by a signal.

    Raises:
        ConfigError: the detector cannot be built, or an overlay would replace an image.
    """
    detector = Detector(trained, device)
    targets = [out / OVERLAYS / name for name in overlay_names(images)]
    replaced = {path.resolve() for path in images} & {path.resolve() for path in targets}
    if replaced:
        raise ConfigError(f"{replaced.pop()} would be replaced by its overlay: give another --out")
    done = Predicted()
    with Progress("image", len(images)) as progress:
        for number, (path, target) in enumerate(zip(images, targets, strict=True), start=1):
            if stop.requested:
                raise Interrupted(stop.signum)
            try:
                image, found = detector(path, number)
            except ImageError as problem:
                done.unreadable[path] = str(problem)
            else:
                found = [entry for entry in found if entry["score"] >= threshold]
                done.results += found
                height, width = image.shape[:2]
                done.images.append({"id": number, "file_name": str(path), "width": width, "height": height})
                target.parent.mkdir(parents=True, exist_ok=True)
                draw(image, found, trained.categories, trained.trained_with).save(target, quality=92)
            progress.update(number)
    ids = {category["id"]: category.get("original_id", category["id"]) for category in trained.categories}
    results = [found | {"category_id": ids[found["category_id"]]} for found in done.results]
    categories = [{"id": ids[c["id"]], "name": c["name"], "split": c["split"]} for c in trained.categories]
    write_json(out / RESULTS, results)
    write_json(out / IMAGES, {"images": done.images, "annotations": [], "categories": categories})
    return done


class Detector:
    """A detector with evaluation's pipeline: call it with an image's path and id."""

    def __init__(self, trained: Trained, device: str) -> None:
        from mmengine.dataset import Compose
        from pycocotools.coco import COCO

        self.model = trained.detector(device)
        from contrastmask.training.build import test_pipeline

        self.read, *self.prepare = Compose(test_pipeline(trained.config)).transforms
        self.categories = [category["id"] for category in trained.categories]
        self.no_truth = COCO()

    def __call__(self, path: Path, number: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """The image (H, W, 3) in RGB, turned as its EXIF says, and its detections in COCO's result format.

        Raises:
            ImageError: saying why it cannot be read.
        """
        from contrastmask.evaluation.evaluate import predict_image

        sample = self.read({"img_path": str(path), "img_id": number})
        image = np.ascontiguousarray(sample["img"][..., ::-1])
        for transform in self.prepare:
            sample = transform(sample)
        return image, predict_image(self.model, sample, self.no_truth, self.categories)[0]
