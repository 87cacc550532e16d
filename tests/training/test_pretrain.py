"""Pretraining on boxes and categories: it learns, repeats itself, and no mask reaches it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from models.tiny import tiny_config

from contrastmask.data.synthetic import generate
from contrastmask.errors import ConfigError
from contrastmask.training.pretrain import SMALLEST, crops, main, pretrain

RECIPE = {"iterations": 12, "batch": 16, "size": 32, "lr": 0.003}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("data")
    generate(root, train_images=24, val_images=1, image_size=96, seed=0, categories=2)
    annotations = root / "annotations" / "instances_train.json"
    return {
        "train": {"annotations": str(annotations), "images": str(root / "train")},
        "categories": json.loads(annotations.read_text())["categories"],
    }


def scrambled(dataset: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same data with every mask replaced by a corner of the image."""
    content = json.loads(Path(dataset["train"]["annotations"]).read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[0, 0, 5, 0, 5, 5]]
    path = folder / "scrambled.json"
    path.write_text(json.dumps(content))
    return dataset | {"train": dataset["train"] | {"annotations": str(path)}}


def backbone() -> dict[str, Any]:
    return tiny_config("mask-rcnn", "paper", {})["model"]


def test_masks_never_reach_it_and_a_seed_repeats_it(dataset: dict[str, Any], tmp_path: Path) -> None:
    first, second = (
        pretrain(data, backbone(), RECIPE | {"iterations": 2}) for data in (dataset, scrambled(dataset, tmp_path))
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_its_loss_falls(dataset: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    pretrain(dataset, backbone(), RECIPE | {"iterations": 30})
    said = capsys.readouterr()
    losses = [float(line.split("loss ")[1].split()[0]) for line in (said.out + said.err).splitlines() if "loss" in line]
    assert losses[-1] < losses[0]


def test_crops_are_objects_with_a_box_large_enough(dataset: dict[str, Any]) -> None:
    content = json.loads(Path(dataset["train"]["annotations"]).read_text())
    wanted = [a for a in content["annotations"] if not a["iscrowd"] and min(a["bbox"][2:]) >= SMALLEST]
    images, labels = crops(dataset, 32)
    assert images.shape == (len(wanted), 3, 32, 32) and images.dtype == torch.uint8
    ids = [category["id"] for category in dataset["categories"]]
    assert sorted(labels.tolist()) == sorted(ids.index(a["category_id"]) for a in wanted)


def test_data_without_an_object_is_refused(dataset: dict[str, Any], tmp_path: Path) -> None:
    content = json.loads(Path(dataset["train"]["annotations"]).read_text()) | {"annotations": []}
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no object"):
        crops(dataset | {"train": dataset["train"] | {"annotations": str(path)}}, 32)


def test_missing_data_is_one_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    settings = json.dumps({"scale": "mini", "results": str(tmp_path)})
    with pytest.raises(SystemExit) as stopped:
        main(["--backbone", "r18", "--settings", settings, "--out", str(tmp_path / "r18.pth")])
    assert stopped.value.code == 2
    assert "dataset.json" in capsys.readouterr().err
