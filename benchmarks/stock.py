"""mmdet's own Mask R-CNN, as its configuration has it, to compare speed with. No experiment trains it."""

from pathlib import Path
from typing import Any

import contrastmask.models  # isort: skip  # noqa: F401  # first: puts torchvision's operators behind mmcv's
import mmdet
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from contrastmask.config.fragments import put
from contrastmask.config.resolve import narrow

VALUES = Path(mmdet.__file__).parent / ".mim" / "configs" / "_base_" / "models" / "mask-rcnn_r50_fpn.py"


def stock_mask_rcnn(scale: dict[str, Any]) -> nn.Module:
    """R-50-FPN with 80 categories and a mask for each: values and classes are mmdet's, weights are random.

    The RoI head gets features in fp32, as those of this project do (`PartialRoIHead.loss`): under bf16 autocast mmdet
    would round boxes to up to 4 pixels, and torchvision's RoIAlign has no gradient in bf16.

    Args:
        scale: of which `width` and `config` are applied, as to any system; at scale paper they change nothing.
    """
    init_default_scope("mmdet")
    model = Config.fromfile(VALUES).to_dict()["model"]
    del model["backbone"]["init_cfg"]  # it would download weights
    model["backbone"]["base_channels"] = 64  # mmdet's default, in words for `narrow`
    narrow(model, scale.get("width", 1))
    put(model, scale.get("config", {}).get("model", {}))
    detector = MODELS.build(ConfigDict(model))
    loss = detector.roi_head.loss

    def in_fp32(x: tuple[Tensor, ...], *others: Any) -> dict[str, Tensor]:
        return loss(tuple(level.float() for level in x), *others)

    detector.roi_head.loss = in_fp32
    return detector
