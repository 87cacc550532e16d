"""Reading images of a dataset: those that were verified, and no others."""

from pathlib import Path
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from contrastmask.data.verify import look_at
from contrastmask.errors import DataError


@TRANSFORMS.register_module()
class LoadVerifiedImage(LoadImageFromFile):
    """mmcv's reader, which would take what OpenCV makes of a cut or exchanged file: grey, or other pixels.

    Images without annotations (of `contrastmask predict`) were not verified and are read as they are.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add the pixels.

        Raises:
            DataError: the file is missing, cut short, or of another size than recorded.
        """
        if "height" not in results:
            return super().transform(results)
        path = Path(results["img_path"])
        recorded = {"file_name": path.name, "width": results["width"], "height": results["height"]}
        problem, _, _ = look_at(path.parent, recorded)
        if problem is None:
            try:
                return super().transform(results)
            except Exception as error:  # OpenCV and mmcv raise whatever they meet
                problem = f"cannot be decoded ({error})"
        raise DataError(
            f"{path}: {problem}. It was whole when the data was verified: put it back, and the same command goes on"
        )
