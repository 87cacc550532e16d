"""A trained detector on images of one's own: overlays, and results in COCO's format."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrastmask.data.images import ImageError
from contrastmask.data.overlay import draw
from contrastmask.data.problems import KINDS
from contrastmask.errors import ConfigError
from contrastmask.inference.inputs import overlay_names
from contrastmask.inference.model import Model
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
    model = Model(trained, device)
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
                image, found = model.detect(path, number, threshold)
            except ImageError as problem:
                done.unreadable[path] = f"{problem}; {KINDS[problem.kind][1]}"
            else:
                done.results += found
                height, width = image.shape[:2]
                done.images.append({"id": number, "file_name": str(path), "width": width, "height": height})
                target.parent.mkdir(parents=True, exist_ok=True)
                draw(image, found, trained.categories, trained.trained_with).save(target, quality=92)
            progress.update(number)
    ids = model.id_of_data
    categories = [{"id": ids[c["id"]], "name": c["name"], "split": c["split"]} for c in model.categories]
    write_json(out / RESULTS, [entry | {"category_id": ids[entry["category_id"]]} for entry in done.results])
    write_json(out / IMAGES, {"images": done.images, "annotations": [], "categories": categories})
    return done
