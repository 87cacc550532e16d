"""The real configuration, at full width: what the GPU-days would run, for one step on a CPU."""

import pytest
import torch
from models import tiny

from benchmarks.bench_step import Trainer
from benchmarks.systems import without_data


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
    trainer = Trainer(tiny.paper_config("contrastmask", preset=preset), without_data("paper"))
    net = trainer.model
    data = net.data_preprocessor({key: items[:1] for key, items in trainer.batch.items()}, True)
    assert data["inputs"].shape[2:] == (800, 1344)
    loss, values = net.parse_losses(net(**data, mode="loss"))
    loss.backward()
    assert all(torch.isfinite(value) for value in values.values())
    trained = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for part in ("backbone.layer2", "neck", "rpn_head", "roi_head.bbox_head", "roi_head.mask_head", "roi_head.cl_head"):
        assert any(name.startswith(part) for name in trained), part
