"""Parameters and FLOPs of every system at paper scale: `python -m benchmarks.model_table`.

Random weights, one image; see NOTES for what is counted. Writes results/paper/model-table/model-table.{md,csv}.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import ResNet50_Weights, ResNet101_Weights, ResNeXt50_32X4D_Weights, ResNeXt101_64X4D_Weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from benchmarks import output
from benchmarks.systems import BASELINE, TABLES, System, categories, systems, without_data
from contrastmask.errors import ConfigError
from contrastmask.report import paper
from contrastmask.training.build import build_model

HEIGHT, WIDTH = 800, 1344
PROPOSALS, BOXES = 1000, 100
NOTES = (
    f"Millions of parameters (frozen ones included) and GFLOPs of one image of {HEIGHT} x {WIDTH} at test. A"
    " multiply-add counts as 2 FLOPs; convolutions and matrix products are counted, nothing else.",
    "Dense head: the RPN, or a single-stage detector's head. Box head: on"
    f" {PROPOSALS} RoIs. Mask branch: masks in {BOXES} given boxes, with all that this takes, such as the box head's"
    " class activation map of these boxes.",
    "Published parameters are torchvision's (its weights' `num_params`): Mask R-CNN ResNet-50 FPN, which has 91 classes"
    " and as many mask channels, and the ImageNet backbones less their classifier of 2.049 M. Empty: none found.",
)
HEAD = (
    *("Method", "Backbone", "M params", "published", "M backbone", "backbone, published", "M neck", "M dense head"),
    *("M box head", "M mask branch", "GFLOPs", "G backbone + neck", "G dense head", "G box head", "G mask branch"),
)
CLASSIFIER = 2048 * 1000 + 1000
BACKBONES = {
    "r50": ResNet50_Weights.IMAGENET1K_V1,
    "r101": ResNet101_Weights.IMAGENET1K_V1,
    "x50": ResNeXt50_32X4D_Weights.IMAGENET1K_V1,
    "x101": ResNeXt101_64X4D_Weights.IMAGENET1K_V1,
}
DETECTORS = {(BASELINE, "r50"): MaskRCNN_ResNet50_FPN_Weights.COCO_V1}


@dataclass(frozen=True)
class Size:
    """Parameters and FLOPs of the parts; 0 where a system has no such part."""

    backbone: int
    neck: int
    dense_head: int
    box_head: int
    mask_branch: int
    features_flops: int
    dense_head_flops: int
    box_head_flops: int
    mask_branch_flops: int

    @property
    def parameters(self) -> int:
        return self.backbone + self.neck + self.dense_head + self.box_head + self.mask_branch

    @property
    def flops(self) -> int:
        return self.features_flops + self.dense_head_flops + self.box_head_flops + self.mask_branch_flops


@torch.no_grad()
def measure(model: Any, height: int = HEIGHT, width: int = WIDTH) -> Size:
    """Count a detector's parts: two-stage, or single-stage with a dense `bbox_head` and a mask branch alone.

    Everything dense runs on torch's meta device, which knows shapes only; the mask branch chooses pyramid levels by
    the boxes' values, so it runs for real, on random features.
    """
    model.eval()
    roi_head = model.roi_head
    dense = "rpn_head" if hasattr(model, "rpn_head") else "bbox_head"
    box_head = getattr(roi_head, "bbox_head", None)
    shapes = copy.deepcopy(model).to("meta")
    with FlopCounterMode(display=False) as counter:
        features = shapes.extract_feat(torch.empty(1, 3, height, width, device="meta"))
    return Size(
        backbone=count(model.backbone),
        neck=count(model.neck),
        dense_head=count(getattr(model, dense)),
        box_head=count(box_head) if box_head is not None else 0,
        mask_branch=count(roi_head) - (count(box_head) if box_head is not None else 0),
        features_flops=counter.get_total_flops(),
        dense_head_flops=flops(getattr(shapes, dense), features),
        box_head_flops=flops(shapes.roi_head.bbox_head, box_features(roi_head)) if box_head is not None else 0,
        mask_branch_flops=mask_flops(roi_head, [torch.rand(level.shape) for level in features], height, width),
    )


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops(module: Any, inputs: Any) -> int:
    """FLOPs of one call."""
    with FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops()


def box_features(roi_head: Any) -> Tensor:
    """What the box head sees of PROPOSALS RoIs, on the meta device."""
    extractor = roi_head.bbox_roi_extractor
    return torch.empty(PROPOSALS, extractor.out_channels, *extractor.roi_layers[0].output_size, device="meta")


def mask_flops(roi_head: Any, features: list[Tensor], height: int, width: int) -> int:
    """FLOPs of the mask branch in BOXES boxes of all sizes."""
    meta = {"img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0)}
    sides = torch.logspace(1.2, 2.8, BOXES)  # 16 to 630 pixels
    corners = torch.zeros(BOXES, 2)
    boxes = torch.cat([corners, corners + sides[:, None]], dim=1)
    with FlopCounterMode(display=False) as counter:
        roi_head.predict_masks_in_boxes(tuple(features), [meta], [boxes], [torch.zeros(BOXES, dtype=torch.long)])
    return counter.get_total_flops()


def cells(system: System, size: Size) -> list[str]:
    """A system's line, under HEAD."""
    spec = system.spec
    detector, backbone = DETECTORS.get((spec.method, spec.backbone)), BACKBONES.get(spec.backbone)
    return [
        system.name,
        paper.name("backbones", spec.backbone),
        _millions(size.parameters),
        _millions(detector.meta["num_params"]) if detector else "",
        _millions(size.backbone),
        _millions(backbone.meta["num_params"] - CLASSIFIER) if backbone else "",
        *map(_millions, (size.neck, size.dense_head, size.box_head, size.mask_branch)),
        f"{size.flops / 1e9:.0f}",
        *(
            f"{part / 1e9:.0f}" if part else ""
            for part in (size.features_flops, size.dense_head_flops, size.box_head_flops, size.mask_branch_flops)
        ),
    ]


def _millions(number: int) -> str:
    return f"{number / 1e6:.2f}" if number else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_table", description=__doc__)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), metavar="TABLE", help="whose rows to count")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args(arguments)
    try:
        settings = without_data("paper")
        listed = systems(settings, given.tables)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    dataset, split = categories(settings)
    rows = []
    for number, system in enumerate(listed, start=1):
        print(f"{number}/{len(listed)} {system.name}, {system.spec.backbone}", file=sys.stderr, flush=True)
        rows.append(cells(system, measure(build_model(system.config, dataset, split, weights=None))))
    print(output.write(given.results / "paper" / "model-table", "model-table", NOTES, HEAD, rows, left=2), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
