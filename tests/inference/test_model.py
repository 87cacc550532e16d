"""A trained detector in a program: `from contrastmask import load_model`."""

import sys
from pathlib import Path

import numpy as np
import pytest
from inference.made import picture
from pycocotools import mask as coco_mask

import contrastmask
from contrastmask.data.images import ImageError
from contrastmask.errors import ConfigError


@pytest.fixture(scope="module")
def model(results: Path) -> contrastmask.Model:
    return contrastmask.load_model(next((results / "smoke" / "runs").glob("*/seed0")), device="cpu")


def test_arrays_and_coco_results_are_the_same_objects(model: contrastmask.Model, tmp_path: Path) -> None:
    found = model.predict(picture(tmp_path / "photo.png", size=(96, 72)), threshold=0)
    assert len(found) > 0 and found.masks.shape == (len(found), 72, 96) and found.masks.dtype == bool
    assert found.boxes.shape == (len(found), 4) and (np.diff(found.scores) <= 0).all()
    for n, entry in enumerate(found.coco):
        np.testing.assert_array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), found.masks[n])
        x, y, w, h = entry["bbox"]
        np.testing.assert_allclose(found.boxes[n], [x, y, x + w, y + h])
        category = model.categories[found.labels[n]]
        assert found.names[n] == category["name"] and found.novel[n] == (category["split"] == "novel")


def test_no_object_gives_empty_arrays(model: contrastmask.Model, tmp_path: Path) -> None:
    found = model.predict(picture(tmp_path / "photo.png", size=(96, 72)), threshold=1)
    assert len(found) == 0 and found.masks.shape == (0, 72, 96) and found.boxes.shape == (0, 4) and found.names == ()


def test_what_cannot_be_read_is_said(model: contrastmask.Model, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"photo\.jpg"):
        model.predict(tmp_path / "photo.jpg")
    with pytest.raises(ConfigError, match="does not exist"):
        contrastmask.load_model(tmp_path / "nowhere")


def test_supervision_takes_it(model: contrastmask.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """supervision is not among the dependencies: a stand-in takes what its Detections takes."""
    module = type(sys)("supervision")
    module.Detections = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = model.predict(picture(tmp_path / "photo.png"), threshold=0)
    given = found.to_supervision()
    assert given["xyxy"] is found.boxes and given["mask"] is found.masks and given["class_id"] is found.labels
    assert given["data"]["class_name"].tolist() == list(found.names)
