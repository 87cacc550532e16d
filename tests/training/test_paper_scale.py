"""The real configuration, at full width: what the GPU-days would run, for one step on a CPU."""

from typing import Any

import pytest
import torch
from models import tiny


def test_the_baseline_is_mask_rcnn_with_one_mask_channel() -> None:
    """mmdet's mask-rcnn_r50_fpn with 80 mask channels has 44.40 M parameters."""
    baseline = tiny.paper_model("mask-rcnn")
    assert tiny.parameters(baseline) / 1e6 == pytest.approx(44.40 - 79 * 257 / 1e6, abs=0.01)
    frozen = {name.split(".")[1] for name, p in baseline.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}


@pytest.mark.parametrize(("backbone", "expected"), [("r50", 23.5), ("r101", 42.5), ("x50", 23.0), ("x101", 81.4)])
def test_backbones_have_their_published_size(backbone: str, expected: float) -> None:
    """torchvision's counts less the ImageNet classifier (2.05 M)."""
    net = tiny.paper_model("contrastmask", backbone, device="meta")
    assert tiny.parameters(net.backbone) / 1e6 == pytest.approx(expected, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_one_step_at_800_pixels(preset: str) -> None:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    torch.manual_seed(0)
    net = tiny.paper_model("contrastmask", preset=preset)
    net.train()
    height, width = 800, 1088
    boxes = torch.tensor([[50.0, 60, 400, 500], [300, 200, 900, 700], [700, 100, 760, 190]])
    masks = torch.zeros(3, height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2] = 1
    shape: dict[str, Any] = {"img_shape": (height, width), "ori_shape": (height, width), "scale_factor": (1.0, 1.0)}
    sample = DetDataSample(metainfo=shape | {"batch_input_shape": (height, width), "pad_shape": (height, width)})
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 70, 5]), masks=BitmapMasks(masks.numpy(), height, width)
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    data = net.data_preprocessor({"inputs": [image], "data_samples": [sample]}, True)
    loss, values = net.parse_losses(net(**data, mode="loss"))
    loss.backward()
    assert all(torch.isfinite(value) for value in values.values())
    trained = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for part in ("backbone.layer2", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head", "roi_head.cl_head"):
        assert any(name.startswith(part) for name in trained), part
