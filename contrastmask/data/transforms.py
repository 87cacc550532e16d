"""The first steps of mmdet's pipelines: images as data/images.py reads them, and masks of either kind."""

from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS

from contrastmask.data.images import read_image, read_verified


@TRANSFORMS.register_module()
class LoadVerifiedImage(BaseTransform):
    """Adds the pixels, of the size that the annotations record; upright where there are none (`predict`)."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (H, W, 3) uint8 in BGR, `img_shape` and `ori_shape`.

        Raises:
            DataError: a verified file is no longer what it was.
            ImageError: an image of no data set cannot be read.
        """
        path = Path(results["img_path"])
        known = "height" in results
        pixels = read_verified(path, (results["width"], results["height"])) if known else read_image(path)
        return results | {"img": pixels, "img_shape": pixels.shape[:2], "ori_shape": pixels.shape[:2]}


@TRANSFORMS.register_module()
class LoadPolygons(LoadAnnotations):
    """mmdet's with `poly2mask=False`: masks stay exact under resizing and cropping.

    An image with an object whose mask is no polygon is read as bitmaps: mmdet would drop such an object. Crowds, whose
    masks no training reads, do not count.
    """

    def _load_masks(self, results: dict[str, Any]) -> None:
        objects = (each for each in results["instances"] if not each["ignore_flag"])
        self.poly2mask = not all(isinstance(each["mask"], list) for each in objects)
        super()._load_masks(results)
