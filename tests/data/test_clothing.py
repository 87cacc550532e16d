"""Clothing Co-Parsing to COCO files, on label images drawn here: none of its photos is part of the project."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from scipy.io import savemat

from contrastmask.config.yamlfiles import read_yaml
from contrastmask.data.clothing import CATEGORIES, LONG_SIDE, convert, is_complete, objects, read_categories
from contrastmask.errors import DataError
from contrastmask.paths import CONFIGS

NAMES = ["null", *sorted(CATEGORIES), "skin"]
LABEL = {name: label for label, name in enumerate(NAMES)}
HEIGHT, WIDTH = 768, 512


def draw(*shapes: tuple[str, int, int, int, int]) -> np.ndarray:
    """A label image with rectangles (name, x, y, width, height)."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for name, x, y, w, h in shapes:
        labels[y : y + h, x : x + w] = LABEL[name]
    return labels


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "clone"
    (root / "annotations" / "pixel-level").mkdir(parents=True)
    (root / "photos").mkdir()
    entries = np.empty((1, len(NAMES)), dtype=object)
    entries[0] = [np.array([name]) for name in NAMES]
    savemat(root / "label_list.mat", {"label_list": entries})
    shoes = ("shoes", 100, 600, 80, 60), ("shoes", 300, 600, 80, 60)
    scenes = {
        "0001": draw(("coat", 100, 100, 200, 300), ("belt", 101, 451, 200, 20), *shoes),
        "0002": draw(("coat", 100, 100, 80, 300), ("coat", 300, 100, 80, 300), ("skin", 0, 0, 50, 50)),
        "0005": draw(("hair", 200, 20, 100, 80), ("belt", 10, 700, 4, 4)),
    }
    for number, labels in scenes.items():
        savemat(root / "annotations" / "pixel-level" / f"{number}.mat", {"groundtruth": labels})
        cv2.imwrite(str(root / "photos" / f"{number}.jpg"), np.full((HEIGHT, WIDTH, 3), 127, dtype=np.uint8))
    cv2.imwrite(str(root / "photos" / "0003.jpg"), np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))  # has no labels
    return root


def test_pieces_are_objects_of_their_own_and_other_labels_one() -> None:
    categories = dict(enumerate(NAMES))
    kept = {label: name for label, name in categories.items() if name in CATEGORIES}
    shoes = ("shoes", 0, 0, 50, 50), ("shoes", 50, 50, 50, 50), ("shoes", 200, 0, 50, 50)
    dress = ("dress", 0, 400, 50, 100), ("dress", 100, 400, 50, 100), ("dress", 300, 400, 9, 9)
    labels = draw(*shoes, *dress, ("coat", 0, 300, 9, 13), ("hat", 100, 300, 9, 14))
    found = objects(labels, kept)
    # two shoes that touch at a corner are one part; 117 pixels of coat, or 81 of dress, are below 0.03 %
    assert sorted((kept[label], int(mask.sum())) for label, mask in found) == [
        ("dress", 10000),
        ("hat", 126),
        ("shoes", 2500),
        ("shoes", 5000),
    ]


def test_a_clone_becomes_coco_files(clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not is_complete(out)
    convert(clone, out)
    assert is_complete(out)
    train = COCO(str(out / "annotations" / "instances_train.json"))
    val = COCO(str(out / "annotations" / "instances_val.json"))
    assert sorted(train.imgs) == [1, 2] and sorted(val.imgs) == [5]
    names = {c["id"]: c["name"] for c in train.dataset["categories"]}
    assert names == {LABEL[name]: name for name in CATEGORIES}
    of_photo = {n: sorted(names[a["category_id"]] for a in train.imgToAnns[n]) for n in train.imgs}
    assert of_photo == {1: ["belt", "coat", "shoes", "shoes"], 2: ["coat"]}
    assert [names[a["category_id"]] for a in val.imgToAnns[5]] == ["hair"]
    image = cv2.imread(str(out / "train" / train.imgs[1]["file_name"]))
    assert image.shape == (LONG_SIDE, LONG_SIDE * WIDTH // HEIGHT, 3)
    coat = next(a for a in train.imgToAnns[1] if names[a["category_id"]] == "coat")
    assert coat["bbox"] == [50, 50, 100, 150] and coat["area"] == 15000 == train.annToMask(coat).sum()
    belt = next(a for a in train.imgToAnns[1] if names[a["category_id"]] == "belt")
    # half of a pixel at each side is a pixel, a quarter of one at each corner is none
    assert belt["bbox"] == [50, 225, 101, 11] and belt["area"] == 101 * 11 - 4 == train.annToMask(belt).sum()
    assert sorted(train.anns) == [1, 2, 3, 4, 5]  # 0 is no id to pycocotools


def test_the_same_clone_gives_the_same_files_with_several_processes(clone: Path, tmp_path: Path) -> None:
    convert(clone, tmp_path / "one")
    convert(clone, tmp_path / "two", workers=2)
    written = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert written
    for path in written:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


@pytest.mark.parametrize("missing", ["label_list.mat", "photos/0001.jpg", "annotations/pixel-level/0001.mat"])
def test_a_damaged_clone_is_named(clone: Path, tmp_path: Path, missing: str) -> None:
    (clone / missing).write_bytes(b"no such thing")
    with pytest.raises(DataError, match=Path(missing).name):
        convert(clone, tmp_path / "out")
    assert not is_complete(tmp_path / "out")


def test_a_photo_of_another_size_than_its_labels_is_named(clone: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(clone / "photos" / "0002.jpg"), np.zeros((WIDTH, HEIGHT, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=f"0002.jpg: has {HEIGHT} x {WIDTH} pixels, its label image {WIDTH} x"):
        convert(clone, tmp_path / "out")


def test_a_folder_that_is_no_clone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="clothing-co-parsing"):
        convert(tmp_path, tmp_path / "out")


def test_every_category_must_be_named(clone: Path) -> None:
    savemat(clone / "label_list.mat", {"label_list": np.array([[np.array(["null"])]], dtype=object)})
    with pytest.raises(DataError, match="hair"):
        read_categories(clone / "label_list.mat")


def test_the_objects_of_the_real_clone(shared_dir: Path) -> None:
    """What design notes of the photos counted, in the COCO files that were made of a lossy copy."""
    for part, images, annotations in (("train", 804, 5415), ("val", 200, 1302)):
        read = json.loads((shared_dir / "garments" / "annotations" / f"instances_{part}.json").read_text())
        assert (len(read["images"]), len(read["annotations"])) == (images, annotations)
        assert {c["name"] for c in read["categories"]} == CATEGORIES


def test_how_much_of_its_box_an_upper_garment_fills(shared_dir: Path) -> None:
    """What a mask that fills its box has, beside which README and docs/evidence.md put the IoU of the rows."""
    read = json.loads((shared_dir / "garments" / "annotations" / "instances_val.json").read_text())
    upper = read_yaml(CONFIGS / "splits" / "upper.yaml", "split")["categories"]
    novel = {category["id"] for category in read["categories"] if category["name"] in upper}
    boxes = [(a["area"], a["bbox"]) for a in read["annotations"] if a["category_id"] in novel]
    assert len(boxes) == 316
    # of the clone's own photos 55.9
    assert 100 * np.mean([area / (w * h) for area, (_, _, w, h) in boxes]) == pytest.approx(55.9, abs=0.3)
