"""Calibration: random batches are what a loader gives, and a real step of the smallest system is timed."""

import json
from pathlib import Path

import numpy as np
import yaml

from contrastmask.engine.calibrate import OBJECTS, calibrate, classes, ellipses, price, random_batches
from contrastmask.experiment import CONFIGS, Settings, load_settings, load_table, run_spec
from contrastmask.report.plan import make_plan, system

ROW = {"method": "mask-rcnn", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}


def settings(tmp_path: Path) -> Settings:
    return load_settings(yaml.safe_load((CONFIGS / "config.yaml").read_text()) | {"results": str(tmp_path)})


def test_ellipses_fill_their_boxes() -> None:
    boxes = np.array([[2.0, 3, 12, 9], [0, 0, 20, 16]])
    masks = ellipses(boxes, 16, 20)
    assert masks.shape == (2, 16, 20)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1) == (x1, x2, y1, y2)
        assert abs(mask.sum() / ((x2 - x1) * (y2 - y1)) - np.pi / 4) < 0.1


def test_batches_have_the_sizes_of_training_in_turn() -> None:
    config = {"image": {"train": [[1333, 640], [1333, 800]]}}
    batch = next(random_batches(config, 3, 80))
    assert [tuple(image.shape) for image in batch["inputs"]] == [(3, 640, 853), (3, 800, 1067), (3, 640, 853)]
    for sample in batch["data_samples"]:
        objects = sample.gt_instances
        height, width = sample.img_shape
        assert len(objects) == OBJECTS and objects.labels.max() < 80
        assert (objects.bboxes[:, 2] <= width).all() and (objects.bboxes[:, 3] <= height).all()
        assert all(objects.masks.masks.reshape(OBJECTS, -1).any(1))


def test_the_smaller_backbone_and_the_fewer_options_are_timed() -> None:
    specs = [run_spec(ROW | {"backbone": b}, "paper") for b in ("r50", "x50", "r101", "x101")]
    costs = [price(system(spec), spec) for spec in specs]
    assert costs[0] == costs[1] < costs[2] < costs[3]
    varied = run_spec(ROW | {"options": {"box_head": "conv"}}, "paper")
    assert price(system(varied), varied) > costs[0]


def test_without_data_the_classes_are_cocos(tmp_path: Path) -> None:
    run = run_spec(ROW, "paper")
    categories, split = classes(settings(tmp_path), run)
    assert len(categories) == 80 and len(split["base"]) == 60


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
