"""COCO metrics against published numbers, live pycocotools, and hand-computed examples."""

import contextlib
import copy
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from contrastmask.data.categories import coco_categories
from contrastmask.evaluation.coco_metrics import coco_metrics, mean_iou

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


# ---------------------------------------------------------------- the oracle: 100 images of val2014


@pytest.fixture(scope="module")
def oracle(shared_dir: Path) -> Path:
    return shared_dir / "eval-oracle"


@pytest.fixture(scope="module")
def split_ids() -> dict[str, list[int]]:
    return {name: [c.id for c in coco_categories() if c.split == name] for name in ("voc", "nonvoc")}


def _load(oracle: Path, iou_type: str) -> list[dict]:
    return json.loads((oracle / f"instances_val2014_fake{iou_type}100_results.json").read_text())


def _plain_cocoeval(annotations: Path, results: list[dict], iou_type: str, ids: list[int] | None) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), iou_type)
        if ids:
            evaluation.params.catIds = ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats[:6])


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_oracle(oracle, split_ids, iou_type):
    annotations = oracle / "instances_val2014_100.json"
    truth = json.loads(annotations.read_text())
    subsets = {"all": [c["id"] for c in truth["categories"]], **split_ids}
    results = _load(oracle, iou_type)
    ours = coco_metrics(annotations, results, iou_type=iou_type, subsets=subsets)
    published = json.loads((oracle / "expected_pycocotools.json").read_text())
    for name, ids in subsets.items():
        numbers = [ours.by_subset[name][metric] for metric in NAMES]
        assert numbers == pytest.approx(published[f"{iou_type}/{name}"][:6], abs=5.1e-7)  # stored to 6 digits
        assert numbers == pytest.approx(_plain_cocoeval(annotations, results, iou_type, ids), abs=1e-12)


def test_category_ap_is_that_of_a_run_on_it_alone(oracle):
    annotations, results = oracle / "instances_val2014_100.json", _load(oracle, "segm")
    ours = coco_metrics(annotations, results, iou_type="segm", subsets={})
    for category in (1, 3, 64, 90):
        alone = _plain_cocoeval(annotations, results, "segm", [category])[0]
        expected = None if alone == -1 else pytest.approx(alone, abs=1e-12)
        assert ours.by_category[category] == expected
    assert set(ours.by_category) == {c["id"] for c in json.loads(annotations.read_text())["categories"]}


def test_box_in_mask_results_changes_nothing_and_inputs_stay(oracle, split_ids):
    annotations = oracle / "instances_val2014_100.json"
    results = _load(oracle, "segm")
    with_box = [{**r, "bbox": [0, 0, 500, 500]} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
    before = copy.deepcopy((truth.dataset, with_box))
    first = coco_metrics(annotations, results, iou_type="segm", subsets=split_ids)
    second = coco_metrics(truth, with_box, iou_type="segm", subsets=split_ids)
    assert first == second
    assert (truth.dataset, with_box) == before


# ---------------------------------------------------------------- small examples, computed by hand


def _image(i: int) -> dict:
    return {"id": i, "height": 100, "width": 100}


def _box_annotation(i: int, image: int, category: int, box: list[int], **more) -> dict:
    x, y, w, h = box
    polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    place = {"id": i, "image_id": image, "category_id": category}
    return {**place, "bbox": box, "area": w * h, "segmentation": polygon, "iscrowd": 0, **more}


def _coco(annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [_image(1), _image(2)],
        "categories": [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}, {"id": 11, "name": "never seen"}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _detection(image: int, category: int, box: list[int], score: float) -> dict:
    x, y, w, h = box
    mask = np.zeros((100, 100), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    place = {"image_id": image, "category_id": category}
    return {**place, "score": score, "bbox": box, "segmentation": rle.encode(mask)}


# Annotation ids start at 0: plain COCOeval would take a match with id 0 for none.
TRUTH = [
    _box_annotation(0, 1, 7, [10, 10, 20, 20]),  # small: 400 pixels
    _box_annotation(1, 2, 7, [30, 30, 40, 40]),  # medium: 1600 pixels
    _box_annotation(2, 1, 9, [50, 50, 40, 40]),
]
# Category 7: a hit (score 0.9), a miss (0.8), a hit of IoU (40 x 30) / (40 x 40) = 0.75 (0.7).
# Category 9: a miss, then a hit.
DETECTIONS = [
    _detection(1, 7, [10, 10, 20, 20], 0.9),
    _detection(2, 7, [0, 0, 20, 20], 0.8),
    _detection(2, 7, [30, 30, 40, 30], 0.7),
    _detection(2, 9, [0, 0, 40, 40], 0.6),
    _detection(1, 9, [50, 50, 40, 40], 0.5),
]
# Category 7 at IoU <= 0.75 (6 of the 10 thresholds): recall 0.5 at precision 1, recall 1 at precision 2/3.
# Of the 101 recall points 0.00 ... 1.00, 51 are <= 0.5. Above 0.75 the third is a miss: 51 points at 1, rest 0.
LOW, HIGH = (51 + 50 * 2 / 3) / 101, 51 / 101
AP_7 = 0.6 * LOW + 0.4 * HIGH
AP_9 = 0.5  # all recalls at precision 1/2, at every threshold


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_ap_by_hand(iou_type):
    subsets = {"novel": [7], "base": [9], "all": [7, 9, 11], "unseen": [11], "nothing": []}
    by_subset, by_category = coco_metrics(_coco(TRUTH), DETECTIONS, iou_type=iou_type, subsets=subsets)
    assert by_subset["novel"]["AP"] == pytest.approx(AP_7, abs=1e-12)
    assert by_subset["novel"]["AP50"] == by_subset["novel"]["AP75"] == pytest.approx(LOW, abs=1e-12)
    assert by_subset["novel"]["APs"] == pytest.approx(1.0, abs=1e-12)  # the small one is found first
    assert by_subset["novel"]["APm"] == pytest.approx(0.6, abs=1e-12)  # one object, found up to IoU 0.75
    assert by_subset["novel"]["APl"] is None
    assert by_subset["base"]["AP"] == pytest.approx(AP_9, abs=1e-12)
    assert by_subset["all"]["AP"] == pytest.approx((AP_7 + AP_9) / 2, abs=1e-12)  # 11 has no object: not counted
    assert set(by_subset["unseen"].values()) == set(by_subset["nothing"].values()) == {None}
    assert by_category == {7: pytest.approx(AP_7), 9: pytest.approx(AP_9), 11: None}


def test_mask_area_decides_the_size_range():
    """An unmatched thin mask in a large box is a small false positive: it lowers APs, not APl."""
    diagonal = np.asfortranarray(np.eye(100, dtype=np.uint8))
    stray = {"image_id": 2, "category_id": 9, "score": 0.99, "segmentation": rle.encode(diagonal)}
    stray["bbox"] = [0, 0, 100, 100]
    truth = [_box_annotation(1, 1, 9, [0, 0, 100, 100]), _box_annotation(2, 2, 9, [80, 0, 20, 20])]
    found = [_detection(1, 9, [0, 0, 100, 100], 0.9), _detection(2, 9, [80, 0, 20, 20], 0.9)]
    ours = coco_metrics(_coco(truth), [stray, *found], iou_type="segm", subsets={"b": [9]}).by_subset["b"]
    assert ours["APl"] == pytest.approx(1.0)
    assert ours["APs"] == pytest.approx(0.5)


def test_a_crowd_region_swallows_false_positives():
    truth = [*TRUTH, _box_annotation(3, 2, 9, [0, 0, 50, 50], iscrowd=1)]
    ours = coco_metrics(_coco(truth), DETECTIONS, iou_type="segm", subsets={})
    assert ours.by_category[9] == pytest.approx(1.0)


@pytest.mark.parametrize(("alarms", "expected"), [(99, 0.01), (100, 0.0)])
def test_the_hundred_best_of_an_image_and_category_count(alarms, expected):
    found = [_detection(1, 9, [0, 0, 20, 20], 0.9)] * alarms + [_detection(1, 9, [50, 50, 40, 40], 0.5)]
    ours = coco_metrics(_coco(TRUTH), found, iou_type="bbox", subsets={})
    assert ours.by_category[9] == pytest.approx(expected)


@pytest.mark.parametrize("unmasked", [{}, {"segmentation": None}, {"segmentation": []}])
def test_a_category_with_boxes_only_has_box_ap_and_no_mask_ap(unmasked):
    """Category 9 loses its masks: its mask AP is None, whatever is found of it, and the others' are unmoved."""
    bare = [
        {k: v for k, v in a.items() if k != "segmentation"} | unmasked if a["category_id"] == 9 else a for a in TRUTH
    ]
    subsets = {"novel": [9], "base": [7], "all": [7, 9]}
    masks = coco_metrics(_coco(bare), DETECTIONS, iou_type="segm", subsets=subsets)
    assert set(masks.by_subset["novel"].values()) == {None} and masks.by_category[9] is None
    assert masks.by_subset["base"]["AP"] == masks.by_subset["all"]["AP"] == pytest.approx(AP_7)
    boxes = coco_metrics(_coco(bare), DETECTIONS, iou_type="bbox", subsets=subsets)
    assert boxes == coco_metrics(_coco(TRUTH), DETECTIONS, iou_type="bbox", subsets=subsets)


def test_without_any_mask_or_any_object_nothing_is_measured():
    bare = [{k: v for k, v in a.items() if k != "segmentation"} for a in TRUTH]
    for truth, iou_type in ((bare, "segm"), ([], "segm"), ([], "bbox")):
        ours = coco_metrics(_coco(truth), DETECTIONS, iou_type=iou_type, subsets={"all": [7, 9, 11]})
        assert set(ours.by_subset["all"].values()) == set(ours.by_category.values()) == {None}


def test_a_category_with_masks_on_some_objects_is_refused():
    mixed = [{**TRUTH[0], "segmentation": []}, *TRUTH[1:]]
    with pytest.raises(ValueError, match=r"categories \[7\] of the ground truth have masks on some"):
        coco_metrics(_coco(mixed), DETECTIONS, iou_type="segm", subsets={})
    coco_metrics(_coco(mixed), DETECTIONS, iou_type="bbox", subsets={})


def test_no_detections_is_zero_not_a_crash():
    for iou_type in ("segm", "bbox"):
        ours = coco_metrics(_coco(TRUTH), [], iou_type=iou_type, subsets={"all": [7, 9, 11], "none": [11]})
        assert ours.by_subset["all"] == {"AP": 0, "AP50": 0, "AP75": 0, "APs": 0, "APm": 0, "APl": None}
        assert ours.by_subset["none"]["AP"] is None
        assert ours.by_category == {7: 0, 9: 0, 11: None}


def test_nothing_is_printed(capsys):
    truth = _coco(TRUTH)
    capsys.readouterr()
    coco_metrics(truth, DETECTIONS, iou_type="segm", subsets={"all": [7, 9]})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 8}, "detection 1 has category id 8"),
        ({"image_id": 99}, "detection 1 has image id 99"),
        ({"score": math.nan}, "nan.* not finite"),
        ({"bbox": [0, 0, math.inf, 1]}, "inf.* not finite"),
        ({"segmentation": rle.encode(np.zeros((50, 100), np.uint8, order="F"))}, r"size \[50, 100\].*\[100, 100\]"),
        ({"segmentation": [[0, 0, 5, 0, 5, 5]]}, "not a compressed RLE"),
    ],
)
def test_bad_detections_are_named(change, message):
    bad = [DETECTIONS[0], {**DETECTIONS[1], **change}]
    with pytest.raises(ValueError, match=message):
        coco_metrics(_coco(TRUTH), bad, iou_type="bbox" if "bbox" in change else "segm", subsets={})


def test_an_unknown_category_of_a_subset_is_named():
    with pytest.raises(ValueError, match=r"subset 'novel'.*\[5\]"):
        coco_metrics(_coco(TRUTH), [], iou_type="bbox", subsets={"novel": [5, 7]})


def test_mean_iou_weighs_instances():
    subsets = {"novel": [7], "base": [9, 11], "unseen": [13]}
    by_subset, by_category = mean_iou([(7, 0.5), (7, 1.0), (9, 0.2), (9, 0.4), (11, 0.9)], subsets)
    assert by_subset == {"novel": 0.75, "base": pytest.approx(0.5), "unseen": None}
    assert by_category == {7: 0.75, 9: pytest.approx(0.3), 11: 0.9, 13: None}
    with pytest.raises(ValueError, match="category 7"):
        mean_iou([(7, math.nan)], subsets)
