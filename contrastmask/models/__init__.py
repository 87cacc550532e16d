"""ContrastMask's modules, registered with mmdet when this package is imported."""

from contrastmask.models.common import ops

ops.install()  # before mmdet imports mmcv.ops

from contrastmask.models.common.efficientnet_lite import EfficientNetLite0  # noqa: E402
from contrastmask.models.common.norm import RoIBatchNorm  # noqa: E402
from contrastmask.models.common.partial_roi_head import PartialRoIHead  # noqa: E402
from contrastmask.models.common.single_stage import SingleStageMaskDetector  # noqa: E402
from contrastmask.models.contrastmask.box_head import CAMBoxHead  # noqa: E402
from contrastmask.models.contrastmask.mask_head import PriorMaskHead  # noqa: E402
from contrastmask.models.contrastmask.roi_head import ContrastMaskRoIHead  # noqa: E402

__all__ = [
    "CAMBoxHead",
    "ContrastMaskRoIHead",
    "EfficientNetLite0",
    "PartialRoIHead",
    "PriorMaskHead",
    "RoIBatchNorm",
    "SingleStageMaskDetector",
]
