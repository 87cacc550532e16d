"""What evaluation writes, from masks whose quality is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from contrastmask.evaluation import evaluate
from contrastmask.evaluation.coco_metrics import coco_metrics

CATEGORIES = [18, 3]  # label 0 is category 18


@pytest.fixture
def truth(tmp_path: Path) -> COCO:
    """One image of 20 x 30 with a 10 x 10 square of category 3 at (5, 5), and a crowd."""
    square = [[5, 5, 15, 5, 15, 15, 5, 15]]
    common = {"image_id": 7, "area": 100, "bbox": [5, 5, 10, 10], "segmentation": square}
    content = {
        "images": [{"id": 7, "width": 30, "height": 20, "file_name": "7.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            common | {"id": 1, "category_id": 3, "iscrowd": 0},
            common | {"id": 2, "category_id": 18, "iscrowd": 1},
        ],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    return COCO(str(path))


def square(left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[5:15, left:right] = True
    return mask


def test_a_perfect_detection_has_ap_1(truth: COCO) -> None:
    result = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 15, 15]]),
        scores=torch.tensor([0.9]),
        labels=torch.tensor([1]),
        masks=square(5, 15)[None],
    )
    found = evaluate.coco_results(result, 7, CATEGORIES)
    assert found[0]["category_id"] == 3 and found[0]["bbox"] == [5, 5, 10, 10]
    json.dumps(found)
    for kind in ("segm", "bbox"):
        metrics = coco_metrics(truth, found, iou_type=kind, subsets={"all": [3]})
        assert metrics.by_subset["all"]["AP"] == pytest.approx(1)


def test_iou_in_given_boxes_is_the_iou_of_the_masks(truth: COCO) -> None:
    usable = [a for a in truth.dataset["annotations"] if evaluate.usable(a)]
    assert [a["id"] for a in usable] == [1]  # the crowd is left out
    assert evaluate.gt_box_ious([square(5, 10)], usable, truth) == [(1, 3, pytest.approx(0.5))]


def test_encoded_masks_decode_to_themselves() -> None:
    from pycocotools import mask as coco_mask

    mask = torch.from_numpy(np.random.default_rng(0).random((20, 30)) > 0.5)
    assert np.array_equal(coco_mask.decode(evaluate.encode(mask)).astype(bool), mask.numpy())


def test_boxes_without_extent_and_objects_without_mask_are_not_compared() -> None:
    polygon = [[0, 0, 1, 0, 1, 1]]
    assert not evaluate.usable({"bbox": [0, 0, 0, 5], "segmentation": polygon})
    assert not evaluate.usable({"bbox": [0, 0, 5, 5], "segmentation": []})
    assert evaluate.usable({"bbox": [0, 0, 5, 5], "segmentation": polygon})


def test_the_last_line_says_what_was_not_measured() -> None:
    metrics = {"run": "r", "seed": 0, "segm": {"novel": {"AP": None}}, "bbox": {"novel": {"AP": 0.25}}}
    assert evaluate.headline(metrics) == "r seed 0: novel segm AP not measured, bbox AP 25.00"


def test_logged_values_are_those_of_the_file_and_nothing_that_was_not_measured() -> None:
    metrics = {
        "segm": {"novel": {"AP": 0.123456789, "APl": None}},
        "bbox": {"all": {"AP": 0.5}},
        "gt_box_miou": {"novel": 0.25, "base": None},
    }
    assert evaluate.logged(metrics) == {"segm/novel/AP": 0.123456789, "bbox/all/AP": 0.5, "gt_box_miou/novel": 0.25}
