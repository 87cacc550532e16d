"""ContrastMask's modules, registered with mmdet when this package is imported."""

from contrastmask.engine import ops

ops.install()  # before mmdet imports mmcv.ops

from contrastmask.models.box_head import CAMBoxHead  # noqa: E402
from contrastmask.models.efficientnet_lite import EfficientNetLite0  # noqa: E402
from contrastmask.models.mask_head import PriorMaskHead  # noqa: E402
from contrastmask.models.norm import RoIBatchNorm  # noqa: E402
from contrastmask.models.partial_roi_head import PartialRoIHead  # noqa: E402
from contrastmask.models.roi_head import ContrastMaskRoIHead  # noqa: E402
from contrastmask.models.single_stage import SingleStageMaskDetector  # noqa: E402

__all__ = [
    "CAMBoxHead",
    "ContrastMaskRoIHead",
    "EfficientNetLite0",
    "PartialRoIHead",
    "PriorMaskHead",
    "RoIBatchNorm",
    "SingleStageMaskDetector",
]
