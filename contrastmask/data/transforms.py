"""The first step of mmdet's pipelines: images as data/images.py reads them."""

from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform
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
