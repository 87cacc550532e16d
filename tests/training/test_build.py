"""From a configuration and annotations to the model and the datasets."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from models import tiny

from contrastmask.config.fragments import merge
from contrastmask.errors import ConfigError
from contrastmask.training.build import build_dataset, build_model

from mmdet.registry import MODELS  # isort: skip

CATEGORIES = [{"id": 9, "name": "boat"}, {"id": 2, "name": "bicycle"}]  # not in the order of ids or names
RESOLVED = tiny.resolved("contrastmask", "paper", {})
SQUARE = [[10, 10, 50, 10, 50, 50, 10, 50]]


def annotation(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [10, 10, 40, 40],
        "area": 1600,
        "iscrowd": 0,
        "segmentation": SQUARE,
    } | more


@pytest.fixture
def dataset(tmp_path: Path) -> dict[str, Any]:
    """Four images: two objects; a crowd beside an object; nothing; a low one."""
    sizes = [(64, 96), (64, 96), (64, 96), (20, 90)]
    for number, size in enumerate(sizes):
        pixels = np.full((*size, 3), 128, dtype=np.uint8)
        pixels[:, :20] = 0  # a dark left
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": h, "width": w} for n, (h, w) in enumerate(sizes)],
        "annotations": [
            annotation(1, 0, 2),
            annotation(2, 0, 9),
            annotation(3, 1, 9),
            annotation(4, 1, 2, iscrowd=1, segmentation={"counts": [0, 6144], "size": [64, 96]}),
            annotation(5, 3, 9),
        ],
        "categories": CATEGORIES,
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    part = {"annotations": str(tmp_path / "instances.json"), "images": str(tmp_path)}
    return {"categories": CATEGORIES, "train": part, "val": part}


def test_labels_follow_the_order_of_the_datasets_categories(dataset: dict[str, Any]) -> None:
    training = build_dataset(tiny.resolved("mask-rcnn", "paper", {}), dataset, "train")
    labels = training[0]["data_samples"].gt_instances.labels.tolist()
    assert [dataset["categories"][label]["id"] for label in labels] == [2, 9]


def test_training_drops_images_without_objects_and_evaluation_keeps_all(dataset: dict[str, Any]) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    training, validation = (build_dataset(config, dataset, part) for part in ("train", "val"))
    assert [training.get_data_info(n)["img_id"] for n in range(len(training))] == [0, 1, 3]
    assert [validation.get_data_info(n)["img_id"] for n in range(len(validation))] == [0, 1, 2, 3]


def test_evaluation_flips_nothing(dataset: dict[str, Any]) -> None:
    seen = build_dataset(tiny.resolved("mask-rcnn", "paper", {}), dataset, "val")[0]["inputs"]
    assert seen[..., 0].max() < 64 < 96 < seen[..., -1].min()


def test_training_reads_the_splits_annotations_and_not_the_data_sets(dataset: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads(Path(dataset["train"]["annotations"]).read_text())
    box = [[10, 10, 50, 10, 50, 30, 10, 30]]
    content["annotations"] = [a | {"segmentation": box} for a in content["annotations"] if a["image_id"] == 0]
    (tmp_path / "split.json").write_text(json.dumps(content))
    config = tiny.resolved("mask-rcnn", "paper", {})
    config["image"] |= {"train": [[96, 64]], "flip": 0}
    training = build_dataset(config, dataset, "train", tmp_path / "split.json")
    assert len(training) == 1
    masks = training[0]["data_samples"].gt_instances.masks
    assert masks.areas.tolist() == pytest.approx([800, 800], rel=0.1)  # half of those in the data set


def test_crowds_are_ignored_instances(dataset: dict[str, Any]) -> None:
    sample = build_dataset(tiny.resolved("mask-rcnn", "paper", {}), dataset, "train")[1]["data_samples"]
    assert (len(sample.gt_instances), len(sample.ignored_instances)) == (1, 1)


def test_training_scales_lie_between_the_two_given_and_evaluation_has_one(dataset: dict[str, Any]) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    config["image"] |= {"train": [[500, 64], [500, 128]], "test": [500, 100], "flip": 0.5}
    training, validation = (build_dataset(config, dataset, part) for part in ("train", "val"))
    np.random.seed(0)
    samples = [training[0]["data_samples"] for _ in range(30)]
    short = {min(sample.img_shape) for sample in samples}
    assert len(short) > 5
    assert 64 <= min(short) < 80
    assert 112 < max(short) <= 128
    assert {sample.flip for sample in samples} == {True, False}
    assert {min(validation[0]["data_samples"].img_shape) for _ in range(3)} == {100}


def test_more_than_two_training_scales_are_a_choice(dataset: dict[str, Any]) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    config["image"]["train"] = [[500, 64], [500, 96], [500, 128]]
    training = build_dataset(config, dataset, "train")
    np.random.seed(0)
    assert {min(training[0]["data_samples"].img_shape) for _ in range(30)} == {64, 96, 128}


def test_boxes_and_masks_are_flipped_together(dataset: dict[str, Any]) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    config["image"] |= {"train": [[96, 64]], "test": [96, 64], "flip": 1}  # mmdet takes 1.0 alone
    truth = build_dataset(config, dataset, "train")[0]["data_samples"].gt_instances
    np.testing.assert_allclose(truth.bboxes.tensor[0], [46, 10, 86, 50])
    y, x = np.nonzero(truth.masks.to_ndarray()[0])
    np.testing.assert_allclose([x.min(), y.min(), x.max() + 1, y.max() + 1], [46, 10, 86, 50], atol=1)


def test_base_labels_are_the_positions_of_the_base_categories() -> None:
    model = build_model(tiny.resolved("contrastmask", "paper", {}), tiny.DATASET, tiny.SPLIT, weights=None)
    assert model.roi_head.is_base.tolist() == [False, True, False, True]
    assert model.roi_head.bbox_head.num_classes == 4
    assert model.roi_head.mask_head.num_classes == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"roi_hed": {}}, ["roi_hed"]),
        ({"roi_head": {"mask_head": {"conv_out_chanels": 4}}}, ["conv_out_chanels"]),
        ({"backbone": {"depth": 51}}, ["invalid depth 51", "resnet.py"]),
        ({"backbone": {"style": "caffee"}}, ["AssertionError", "assert style in ['pytorch', 'caffe']"]),
        ({"roi_head": {"mask_roi_extractor": None}}, ["mask_roi_extractor["]),
    ],
)
def test_a_wrong_value_in_the_free_configuration_is_said(model: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError, match="`config` of its scale or row") as caught:
        build_model(merge(RESOLVED, {"model": model}), tiny.DATASET, tiny.SPLIT, weights=None)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_bug_of_our_own_is_not_taken_for_a_wrong_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("contrastmask.models.contrastmask.roi_head.ContrastMaskRoIHead.__init__", fails)
    with pytest.raises(TypeError, match="a bug"):
        build_model(RESOLVED, tiny.DATASET, tiny.SPLIT, weights=None)


def test_backbone_weights_come_from_the_file(tmp_path: Path) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    first = build_model(config, tiny.DATASET, tiny.SPLIT, weights=None)
    torch.save(first.backbone.state_dict(), tmp_path / "backbone.pth")
    second = build_model(config, tiny.DATASET, tiny.SPLIT, weights=str(tmp_path / "backbone.pth"))
    assert not second.backbone.layer1[0].conv1.weight.equal(first.backbone.layer1[0].conv1.weight)
    second.init_weights()
    for name, value in first.backbone.state_dict().items():
        assert second.backbone.state_dict()[name].equal(value), name
    assert "init_cfg" not in config["model"]["backbone"], "the configuration is left alone"


def test_weights_of_a_backbone_that_was_narrowed_are_refused(tmp_path: Path) -> None:
    config = tiny.resolved("mask-rcnn", "paper", {})
    wide = deepcopy(config["model"]["backbone"]) | {"base_channels": 16}
    torch.save(MODELS.build(wide).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(ConfigError, match=r"wide.pth does not fit backbone 'r50': .*conv1.weight.*from_scratch"):
        build_model(config, tiny.DATASET, tiny.SPLIT, weights=str(tmp_path / "wide.pth"))


def test_the_paper_scales_channels_are_the_papers() -> None:
    """At smoke scale widths shrink; depths and sizes stay."""
    head = tiny.resolved("contrastmask", "paper", {})["model"]["roi_head"]
    assert head["mask_roi_extractor"]["out_channels"] == 256 // 8
    assert head["mask_roi_extractor"]["roi_layer"]["output_size"] == 14
    assert head["bbox_roi_extractor"]["roi_layer"]["output_size"] == 7
    assert (head["bbox_head"]["num_shared_convs"], head["bbox_head"]["num_cls_convs"]) == (4, 1)
    assert head["bbox_head"]["num_reg_convs"] == 2
    assert head["mask_head"]["num_convs"] == 4
