"""Parameters and FLOPs: against published counts, against a count by hand, and for both kinds of detector."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from models import tiny
from torch import Tensor, nn

from benchmarks import model_table
from benchmarks.model_table import BACKBONES, BOXES, CLASSIFIER, count, flops, measure
from benchmarks.systems import categories, systems, without_data
from contrastmask.runtime.terminal import markdown
from contrastmask.training.build import build_model


@pytest.fixture(scope="module")
def baseline() -> nn.Module:
    return tiny.build("mask-rcnn")


def test_a_resnet_50_has_the_published_flops_and_parameters() -> None:
    """torchvision publishes multiply-adds of a 224-pixel image, classifier included."""
    settings = without_data("paper")
    backbone = build_model(systems(settings)[0].config, *categories(settings), weights=None).backbone
    published = BACKBONES["r50"].meta
    assert count(backbone) == published["num_params"] - CLASSIFIER
    counted = flops(copy.deepcopy(backbone).to("meta"), torch.empty(1, 3, 224, 224, device="meta"))
    assert counted / 2e9 + 2048 * 1000 / 1e9 == pytest.approx(published["_ops"], abs=0.001)


def test_the_parts_are_the_whole(baseline: nn.Module) -> None:
    size = measure(baseline, 128, 160)
    assert size.parameters == sum(p.numel() for p in baseline.parameters())
    assert size.flops == (size.features_flops + size.dense_head_flops + size.box_head_flops + size.mask_branch_flops)
    assert baseline.neck.fpn_convs[0].conv.weight.device.type == "cpu", "the model itself is left where it was"


def test_the_heads_flops_are_those_of_their_layers(baseline: nn.Module) -> None:
    size = measure(baseline, 128, 160)
    c = baseline.roi_head.mask_head.in_channels
    convs, deconv, logits = 4 * 14**2 * 9 * c * c, 14**2 * 4 * c * c, 28**2 * c
    assert size.mask_branch_flops == 2 * BOXES * (convs + deconv + logits)
    # strides 4 to 64, the last by a maximum of stride 2
    pixels = sum(h * w for h, w in ((32, 40), (16, 20), (8, 10), (4, 5), (2, 3)))
    assert size.dense_head_flops == 2 * pixels * (9 * c * c + c * (3 + 12))


def test_flops_grow_with_the_image_and_only_where_they_should(baseline: nn.Module) -> None:
    small, large = measure(baseline, 128, 128), measure(baseline, 256, 256)
    assert large.features_flops == 4 * small.features_flops
    assert (large.box_head_flops, large.mask_branch_flops) == (small.box_head_flops, small.mask_branch_flops)


class SingleStage(nn.Module):
    """The shape of a single-stage detector with a mask branch: a dense `bbox_head`, no RPN, no box head on RoIs."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.neck, self.bbox_head = nn.Conv2d(3, 4, 1, 8), nn.Conv2d(4, 5, 1), Dense()
        self.roi_head = MaskBranch()

    def extract_feat(self, x: Tensor) -> tuple[Tensor]:
        return (self.neck(self.backbone(x)),)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 6, 1)

    def forward(self, features: tuple[Tensor]) -> list[Tensor]:
        return [self.conv(level) for level in features]


class MaskBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask_head = nn.Conv2d(5, 1, 1)

    def predict_masks_in_boxes(
        self, features: tuple[Tensor], metas: list[dict], boxes: list[Tensor], labels: list[Tensor]
    ) -> None:
        assert len(boxes[0]) == len(labels[0]) == BOXES and len(metas) == 1
        self.mask_head(features[0].new_zeros(BOXES, 5, 2, 2))


def test_a_single_stage_detector_has_a_dense_head_and_no_box_head() -> None:
    size = measure(SingleStage(), 64, 64)
    assert (size.backbone, size.neck, size.dense_head, size.box_head, size.mask_branch) == (16, 25, 36, 0, 6)
    assert size.features_flops == 2 * 64 * (3 * 4 + 4 * 5)
    assert (size.dense_head_flops, size.box_head_flops) == (2 * 64 * 5 * 6, 0)
    assert size.mask_branch_flops == 2 * BOXES * 4 * 5


def test_the_command_prints_and_writes_one_line_for_each_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke = without_data("smoke")
    monkeypatch.setattr(model_table, "without_data", lambda scale: smoke)
    assert model_table.main(["--tables", "table2", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "paper" / "model-table"
    assert (folder / "model-table.md").read_text() == printed
    table = pd.read_csv(folder / "model-table.csv")
    assert list(table["Method"]) == [
        "Mask R-CNN (Baseline)", "ContrastMask (Baseline + CM)", "ContrastMask (Baseline + CM + CL)",
    ]  # fmt: skip
    assert table["M mask branch"][2] > table["M mask branch"][1], "the CL head is part of the mask branch"
    widths = {len(line) for line in printed.splitlines() if line.startswith("|")}
    assert len(widths) == 1, "aligned"


def test_markdown_aligns_text_left_and_numbers_right() -> None:
    assert markdown(["a", "number"], [["text", "1"]], left=1).splitlines() == [
        "| a    | number |",
        "|------|-------:|",
        "| text |      1 |",
    ]


def test_a_cell_is_empty_where_nothing_is_published_or_there_is_no_such_part() -> None:
    system = SimpleNamespace(name="x", spec=SimpleNamespace(method="shapemask", backbone="r101"))
    row = dict(zip(model_table.HEAD, model_table.cells(system, measure(SingleStage(), 64, 64)), strict=True))
    assert (row["published"], row["M box head"], row["G box head"]) == ("", "", "")
    assert row["Backbone"] == "ResNet-101"
