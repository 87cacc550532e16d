"""What evaluation writes, from masks whose quality is known."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from contrastmask.config.yamlfiles import check
from contrastmask.data.normalise import Originals
from contrastmask.evaluation import evaluate
from contrastmask.evaluation.coco_metrics import coco_metrics
from contrastmask.tracking.curves import Curves

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
    assert evaluate.gt_box_ious([evaluate.encode(square(5, 10))], usable, truth) == [(1, 3, pytest.approx(0.5))]


def test_encoded_masks_decode_to_themselves() -> None:
    from pycocotools import mask as coco_mask

    mask = torch.from_numpy(np.random.default_rng(0).random((20, 30)) > 0.5)
    assert np.array_equal(coco_mask.decode(evaluate.encode(mask)).astype(bool), mask.numpy())


def test_boxes_without_extent_and_objects_without_mask_are_not_compared() -> None:
    polygon = [[0, 0, 1, 0, 1, 1]]
    assert not evaluate.usable({"bbox": [0, 0, 0, 5], "segmentation": polygon})
    assert not evaluate.usable({"bbox": [0, 0, 5, 5], "segmentation": []})
    assert evaluate.usable({"bbox": [0, 0, 5, 5], "segmentation": polygon})


def a_run(novel: list[int], base: list[int], untrained: list[int]) -> SimpleNamespace:
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]
    return SimpleNamespace(
        split={"novel": novel, "base": base, "untrained": untrained},
        dataset={"categories": categories, "digest": "d"},
        id="r", seed=0, scale="s", decided={"preset": "paper"}, config_hash="h",
    )  # fmt: skip


def test_a_category_that_was_never_trained_is_in_no_mean(truth: COCO, tmp_path: Path) -> None:
    """Nothing can find it, so its AP of 0 says nothing about the method."""
    perfect = [
        {"image_id": 7, "category_id": 3, "score": 0.9, "bbox": [5, 5, 10, 10],
         "segmentation": evaluate.encode(square(5, 15))}
    ]  # fmt: skip
    truth.dataset["annotations"][1]["iscrowd"] = 0  # a dog, which nothing found
    with_dog = evaluate.summary(a_run([18, 3], [], []), truth, perfect, [], checkpoint="c", started=0.0)
    without = evaluate.summary(a_run([18, 3], [], [18]), truth, perfect, [], checkpoint="c", started=0.0)
    assert with_dog["segm"]["novel"]["AP"] == pytest.approx(0.5) and without["segm"]["novel"]["AP"] == pytest.approx(1)
    assert without["segm"]["all"]["AP"] == without["bbox"]["novel"]["AP"] == pytest.approx(1)
    assert [c["trained"] for c in without["per_category"]] == [False, True]
    tracked = Curves(tmp_path, "r")  # a root category that nothing uses stands first, as Roboflow writes it
    tracked.table("per_category.json", without["per_category"])
    check(without, "metrics", "metrics.json")


def test_each_number_is_of_its_own_categories_and_kind(truth: COCO) -> None:
    """The novel dog has a right box and half its mask, the base car a right mask in a wrong box."""
    truth.dataset["annotations"][1]["iscrowd"] = 0
    place = {"image_id": 7, "score": 0.9}
    found = [
        place | {"category_id": 18, "bbox": [5, 5, 10, 10], "segmentation": evaluate.encode(square(5, 10))},
        place | {"category_id": 3, "bbox": [0, 0, 2, 2], "segmentation": evaluate.encode(square(5, 15))},
    ]
    ious = [(1, 3, 0.9), (2, 18, 0.4)]
    said = evaluate.summary(a_run([18], [3], []), truth, found, ious, checkpoint="c", started=0.0)
    ap = {kind: [said[kind][subset]["AP"] for subset in ("novel", "base", "all")] for kind in ("segm", "bbox")}
    assert ap == {"segm": pytest.approx([0.1, 1, 0.55]), "bbox": pytest.approx([1, 0, 0.5])}  # IoU 0.5: 1 of 10
    assert said["gt_box_miou"] == pytest.approx({"novel": 0.4, "base": 0.9, "all": 0.65})
    keys = ("id", "split", "segm_AP", "bbox_AP", "gt_box_miou")
    assert [[c[key] for key in keys] for c in said["per_category"]] == [
        [18, "novel", pytest.approx(0.1), pytest.approx(1), 0.4],
        [3, "base", pytest.approx(1), 0, 0.9],
    ]


def test_what_cannot_be_measured_has_its_reason(truth: COCO) -> None:
    assert evaluate.unmeasured(truth, {"novel": [18], "base": [3], "all": []}) == {
        "novel": "no objects in val",
        "all": "never trained",
    }
    truth.dataset["annotations"][0]["segmentation"] = []
    assert evaluate.unmeasured(truth, {"base": [3]}) == {"base": "no masks in val"}


def test_detections_have_the_ids_of_the_persons_file(truth: COCO, tmp_path: Path) -> None:
    truth.imgs[7]["original_id"], truth.cats[3]["original_id"], truth.anns[1]["original_id"] = "seven", 2**70, "a-1"
    found = [{"image_id": 7, "category_id": 3, "score": 0.9, "bbox": [5, 5, 10, 10]}]
    evaluate.write_readings(tmp_path, found, [(1, 3, 0.5)], truth)
    with gzip.open(tmp_path / "detections.json.gz", "rt") as file:
        written = json.load(file)
    assert (written[0]["image_id"], written[0]["category_id"]) == ("seven", 2**70)
    assert (tmp_path / "gt_box_iou.csv").read_text().splitlines()[1] == f"a-1,{2**70},0.5"
    assert Originals(truth).our_detections(written) == found


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
