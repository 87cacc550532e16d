"""The GPU benchmark: a dry run of all of it on the CPU, what it does without a GPU or memory, its arithmetic."""

import contrastmask.models  # noqa: F401  isort: skip  # first: puts the operators in place
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead

from benchmarks import bench_gpu, bench_ops
from benchmarks.bench import BenchError
from benchmarks.bench_gpu import OURS, STOCK, Case, Reading, goals, main, measure, pixels, smaller
from benchmarks.bench_ops import Operator, check, differing, of_kept, of_largest
from benchmarks.bench_step import Trainer
from benchmarks.shares import NAMES
from benchmarks.stock import stock_mask_rcnn
from benchmarks.systems import categories, without_data
from contrastmask.training.build import build_model

DRY = ["--device", "cpu", "--scale", "smoke", "--size", "64", "--batch", "1", "--steps", "1"]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which the command sets itself; here so that it is undone


def test_a_dry_run_measures_every_system_in_both_precisions_and_every_operator(
    tmp_path: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_ops, "CHANNELS", 8)
    assert main([*DRY, "--results", str(tmp_path)]) == 0
    folder = tmp_path / "gpu-dry-run"
    lines = list(csv.DictReader((folder / "bench.csv").open()))
    assert [(line["System"], line["precision"]) for line in lines] == [
        (name, precision) for name in (STOCK, "Mask R-CNN (baseline)", *OURS.values()) for precision in ("fp32", "bf16")
    ]
    for line in lines:
        assert line["batch"] == "1" and float(line["images / s"]) > 0
        assert line["commit"] and line["torch"] == torch.__version__ and line["device"] and line["date"]
    parts = list(csv.DictReader((folder / "shares.csv").open()))
    assert [line["System"] for line in parts] == [line["System"] for line in lines]
    for line in parts:
        assert sum(float(line[name]) for name in NAMES) == pytest.approx(100, abs=len(NAMES))  # rounded
        assert (float(line["contrast"]) > 0) == line["System"].startswith("ContrastMask")
        assert all(float(line[name]) > 0 for name in ("backbone and neck", "gradients and step"))
        # ContrastMask's mask branch sees one object here, less than half a percent of a step
        assert float(line["masks"]) > 0 or line["System"].startswith("ContrastMask")
    operators = list(csv.DictReader((folder / "ops.csv").open()))
    assert [(line["Operator"], line["pass"]) for line in operators] == [
        *(
            (name, way)
            for name in ("RoIAlign 7 x 7", "RoIAlign 14 x 14", "focal loss")
            for way in ("forward", "backward")
        ),
        ("NMS", "forward"),
    ]
    assert all(line["verdict"] == "agrees" for line in operators)
    assert any(float(line["deviation"]) > 0 for line in operators), "fp32 against float64"
    said = capsys.readouterr().out
    assert "dry run" in said and said.count("Goal, ContrastMask") == 2
    assert said.endswith((folder / "ops.md").read_text())


def test_without_a_gpu_it_says_so_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_gpu, "visible_gpus", lambda: [])
    assert main(["--results", str(tmp_path / "results")]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


# ---------------------------------------------------------------- throughput


def test_the_stock_model_is_mmdets_and_differs_from_the_baseline_in_its_mask_of_each_class() -> None:
    settings = without_data("paper")
    stock: Any = stock_mask_rcnn(settings.scale)
    assert type(stock.roi_head) is StandardRoIHead and type(stock.roi_head.mask_head) is FCNMaskHead
    baseline = build_model(bench_gpu.cases(settings, 64, 64)[2].config, *categories(settings), weights=None)
    ours, theirs = (sum(p.numel() for p in model.parameters()) for model in (baseline, stock))
    assert theirs - ours == 79 * (256 + 1)  # weights and bias of 80 logits in the place of 1


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_is_the_forward_passs_and_roi_heads_get_fp32(
    precision: str, dtype: torch.dtype, no_gpu: None
) -> None:
    settings = without_data("smoke")
    case = next(c for c in bench_gpu.cases(settings, 64, 64) if (c.name, c.precision) == (STOCK, precision))
    trainer = Trainer(case.config, settings, lambda *_, **__: stock_mask_rcnn(settings.scale))
    seen: dict[str, set[torch.dtype]] = {"neck": set(), "align": set(), "head": set()}
    head = trainer.model.roi_head
    trainer.model.neck.register_forward_hook(lambda module, args, out: seen["neck"].add(out[0].dtype))
    head.mask_head.convs[0].register_forward_hook(lambda module, args, out: seen["head"].add(out.dtype))
    for layer in head.bbox_roi_extractor.roi_layers:
        layer.register_forward_pre_hook(lambda module, args: seen["align"].update(a.dtype for a in args))
    trainer.burst(1)
    assert seen == {"neck": {dtype}, "align": {torch.float32}, "head": {dtype}}


def test_a_batch_that_has_no_room_is_the_largest_power_of_two_that_has(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, room = [], 5

    def attempt(case: Case, settings: Any, batch: int, steps: int) -> Reading:
        tried.append(batch)
        if batch > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Reading(batch, np.ones(steps), 0.0)

    monkeypatch.setattr(bench_gpu, "attempt", attempt)
    settings, case = without_data("smoke"), Case("x", "fp32", {})
    assert measure(case, settings, 16, 3).rate == 4 and tried == [16, 8, 4]
    assert measure(case, settings, 5, 3).batch == 5, "what fits is not changed"
    room = 0
    with pytest.raises(BenchError, match="x, fp32, batch 1: OutOfMemoryError"):
        measure(case, settings, 2, 3)
    assert [smaller(batch) for batch in (2, 3, 9, 12, 16, 17)] == [1, 2, 8, 8, 8, 16]


def test_a_system_that_fails_is_named_with_its_error() -> None:
    with pytest.raises(BenchError, match="x, fp32, batch 1: KeyError"):
        measure(Case("x", "fp32", {}), without_data("smoke"), 1, 1)


def test_the_goal_is_images_of_bf16_against_stock_fp32() -> None:
    readings = {
        (STOCK, "fp32"): Reading(16, np.array([1.0, 2, 9]), 0),
        (OURS["paper"], "bf16"): Reading(16, np.full(3, 1.3), 0),
        (OURS["official"], "bf16"): Reading(8, np.full(3, 2.0), 0),
    }
    paper, official = goals(readings)
    assert "1.5 times" in paper and "x 1.54, reached" in paper
    assert "1.2 times" in official and "x 0.50 (batch 8 against 16), missed" in official


def test_the_papers_largest_image_is_padded_to_what_the_network_takes() -> None:
    assert pixels(800) == (1344, 800)


# ---------------------------------------------------------------- operators


def test_an_operator_that_is_wrong_in_one_pass_differs_there() -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:  # the value of x ** 2 in both precisions, its gradient in one
        return x * x if x.dtype == torch.float64 else x * x.detach()

    rows = check(Operator("square", wrong, (torch.linspace(-1, 1, 9),), of_largest), "cpu", 1)
    assert [row[4] for row in rows] == ["agrees", "differs"] and differing(rows) == ["square, backward"]
    nan = Operator("nan", lambda x: x if x.dtype == torch.float64 else x / 0 * 0, (torch.ones(2),), of_largest)
    assert differing(check(nan, "cpu", 1)) == ["nan, forward", "nan, backward"]


def test_what_only_one_keeps_is_counted() -> None:
    assert of_kept(torch.tensor([3, 1, 0]), torch.tensor([3, 1, 2, 7])) == 3 / 4


def test_the_boxes_for_nms_are_many_that_overlap() -> None:
    boxes, scores = bench_ops.operators(256, 256)[-1].inputs
    kept = bench_ops.operators(256, 256)[-1].call(boxes, scores)
    assert len(boxes) / 50 < len(kept) < len(boxes) / 2
    assert len(scores.unique()) == len(boxes)
