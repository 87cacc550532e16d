"""Calibration: which systems, at which size, and what follows from real steps of the smallest."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.calibrate import calibrate, price, typical_size
from contrastmask.config import CONFIGS, Settings, load_settings, load_table, run_spec
from contrastmask.report.plan import make_plan, system

ROW = {"method": "mask-rcnn", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}


def settings(tmp_path: Path) -> Settings:
    return load_settings(yaml.safe_load((CONFIGS / "config.yaml").read_text()) | {"results": str(tmp_path)})


@pytest.mark.parametrize(
    ("scales", "size"),
    [([[128, 128]], (128, 128)), ([[1333, 640], [1333, 800]], (960, 720)), ([[320, 200]], (267, 200))],
)
def test_typical_size(scales: list[list[int]], size: tuple[int, int]) -> None:
    assert typical_size(scales) == size


def test_the_smaller_backbone_and_the_fewer_options_are_timed() -> None:
    specs = [run_spec(ROW | {"backbone": b}, "paper") for b in ("r50", "x50", "r101", "x101")]
    costs = [price(system(spec), spec) for spec in specs]
    assert costs[0] == costs[1] < costs[2] < costs[3]
    varied = run_spec(ROW | {"options": {"box_head": "conv"}}, "paper")
    assert price(system(varied), varied) > costs[0]


def test_a_calibration_tells_what_a_table_costs(tmp_path: Path) -> None:
    table = load_table(CONFIGS / "tables" / "table2.yaml", "paper")
    here = settings(tmp_path)
    before = make_plan(here, {"table2": table})
    assert before.time_left is None
    timed = calibrate(here, before)
    # both methods on one backbone; the variants of one follow from each other
    assert sorted(kind.method for kind in timed) == ["contrastmask", "mask-rcnn"]
    content = json.loads((here.folder / "calibration.json").read_text())
    assert all(entry["iteration"] > 0 and entry["image"] > 0 and entry["size"] > 1e6 for entry in content["systems"])
    after = make_plan(here, {"table2": table})
    assert after.time_left and after.time_left.low < after.time_left.value < after.time_left.high
    assert calibrate(here, after) == []  # nothing more to find out
