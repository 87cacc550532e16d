"""torchvision's operators behind mmcv's compiled extension, so that mmdet runs without a compiler.

mmcv's wheels ship no compiled operators for current torch; building them takes most of an hour and needs nvcc on a GPU
machine. The detectors here use three: NMS, RoIAlign and, on a GPU, the focal loss, which torchvision has for CPU and
CUDA. `install()` puts a module named `mmcv._ext` with these three in `sys.modules`; every other operator raises an
error that names it. Where the compiled extension exists, it is left alone.

Call `install()` before anything imports `mmcv.ops` (importing `contrastmask.models` does).
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torchvision  # registers torch.ops.torchvision
from torch import Tensor


def install() -> bool:
    """Register the stand-in unless the compiled extension is there. Returns whether the stand-in is in use."""
    if "mmcv._ext" in sys.modules:
        return isinstance(sys.modules["mmcv._ext"], StandIn)
    if importlib.util.find_spec("mmcv._ext") is not None:
        return False
    stand_in = StandIn("mmcv._ext")
    stand_in.__spec__ = ModuleSpec("mmcv._ext", loader=None)  # mmengine asks importlib whether it exists
    sys.modules["mmcv._ext"] = stand_in
    return True


class StandIn(ModuleType):
    """A module that has every operator's name; those not implemented here raise when called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(
                f"mmcv's operator '{name}' needs its compiled extension, which is not installed; "
                "this project provides nms, roi_align and sigmoid_focal_loss only (contrastmask/models/common/ops.py)"
            )

        return missing

    @staticmethod
    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        """Indices of the kept boxes (N, 4), by falling score. With offset 1 a box's width is x2 - x1 + 1."""
        if offset:
            boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
        return torchvision.ops.nms(boxes, scores, iou_threshold)

    @staticmethod
    def roi_align_forward(features: Tensor, rois: Tensor, output: Tensor, *_argmax: Tensor, **how: Any) -> None:
        """Write the average-pooled RoIs (R, C, h, w) of `features` (N, C, H, W) into `output`."""
        scale, bins, sampling = _bins(**how)
        output.copy_(torch.ops.torchvision.roi_align(features, rois, scale, *bins, *sampling))

    @staticmethod
    def roi_align_backward(
        grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_features: Tensor, **how: Any
    ) -> None:
        """Write the gradient of `roi_align_forward` with respect to the features into `grad_features`."""
        scale, bins, sampling = _bins(**how)
        shape = grad_features.shape
        grad_features.copy_(
            torch.ops.torchvision._roi_align_backward(grad_output, rois, scale, *bins, *shape, *sampling)
        )

    @staticmethod
    def sigmoid_focal_loss_forward(
        logits: Tensor, labels: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
    ) -> None:
        """Write the loss of each of `logits` (N, K) into `output`; `labels` (N,) are 0 .. K, K the background."""
        output.copy_(_focal_loss(logits, labels, weight, gamma, alpha))

    @staticmethod
    def sigmoid_focal_loss_backward(
        logits: Tensor, labels: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
    ) -> None:
        """Write the derivative of each loss with respect to its logit into `grad_input` (N, K)."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            losses = _focal_loss(leaf, labels, weight, gamma, alpha)
            grad_input.copy_(torch.autograd.grad(losses.sum(), leaf)[0])


def _focal_loss(logits: Tensor, labels: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    if weight.numel():
        raise NotImplementedError("sigmoid_focal_loss with class weights needs mmcv's compiled extension")
    targets = torch.nn.functional.one_hot(labels, logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    return torchvision.ops.sigmoid_focal_loss(logits, targets, alpha, gamma)


def _bins(
    *, aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int, pool_mode: int, aligned: bool
) -> tuple[float, tuple[int, int], tuple[int, bool]]:
    """mmcv's arguments in torchvision's order: its gradient wants the features' shape between the last two."""
    if pool_mode != 1:
        raise NotImplementedError("roi_align with pool_mode='max' needs mmcv's compiled extension; use 'avg'")
    return spatial_scale, (aligned_height, aligned_width), (sampling_ratio, aligned)
