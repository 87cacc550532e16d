"""ContrastMask's modules, registered with mmdet when this package is imported: the one place where mmdet is brought in.

All of mmdet is registered, so its own Runner and apis find what they ask for. Libraries that only others of its
systems use are loaded when one of those asks for them (models/common/deferred.py).
"""

import contextlib

import torch  # noqa: F401

from contrastmask.models.common.deferred import deferred

with deferred("torch._dynamo"):  # torchvision asks for it, for a way of RoIAlign that is not taken here
    from contrastmask.models.common import ops

ops.install()  # before mmdet imports mmcv.ops

_OF_OTHER_USES = ("imagecorruptions", "imgaug", "matplotlib", "scipy", "sklearn")
# mmdet prints that it goes without OneDL's datasets, which nobody asked for
with deferred(*_OF_OTHER_USES), contextlib.redirect_stdout(None):
    import mmdet.datasets
    import mmdet.models  # noqa: F401

from contrastmask.models.common.assigner import VectorMaxIoUAssigner  # noqa: E402
from contrastmask.models.common.box_losses import ColourPreprocessor  # noqa: E402
from contrastmask.models.common.efficientnet_lite import EfficientNetLite0  # noqa: E402
from contrastmask.models.common.gaussian_mask_head import GaussianMaskHead  # noqa: E402
from contrastmask.models.common.norm import RoIBatchNorm  # noqa: E402
from contrastmask.models.common.partial_roi_head import PartialRoIHead  # noqa: E402
from contrastmask.models.common.preprocessor import MaskPreprocessor  # noqa: E402
from contrastmask.models.common.roi_extractor import SortingRoIExtractor  # noqa: E402
from contrastmask.models.common.rpn_head import BatchRPNHead  # noqa: E402
from contrastmask.models.common.single_stage import SingleStageMaskDetector  # noqa: E402
from contrastmask.models.contrastmask.box_head import CAMBoxHead  # noqa: E402
from contrastmask.models.contrastmask.mask_head import PriorMaskHead  # noqa: E402
from contrastmask.models.contrastmask.roi_head import ContrastMaskRoIHead  # noqa: E402

__all__ = [
    "BatchRPNHead",
    "CAMBoxHead",
    "ColourPreprocessor",
    "ContrastMaskRoIHead",
    "EfficientNetLite0",
    "GaussianMaskHead",
    "MaskPreprocessor",
    "PartialRoIHead",
    "PriorMaskHead",
    "RoIBatchNorm",
    "SingleStageMaskDetector",
    "SortingRoIExtractor",
    "VectorMaxIoUAssigner",
]
