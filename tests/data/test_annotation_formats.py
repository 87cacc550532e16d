"""A folder without a data set is told what it holds instead, and the way from there."""

import json
from pathlib import Path

import pytest

from contrastmask.data.dataset import find_parts
from contrastmask.data.layouts import survey
from contrastmask.errors import DataError

COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}
VIA = {"_via_settings": {}, "_via_img_metadata": {"a.jpg1": {"filename": "a.jpg", "regions": []}}}
LABELME = {"version": "5", "flags": {}, "shapes": [], "imagePath": "a.jpg"}
XML = "<annotation><folder>x</folder><object/></annotation>"

FOUND = {
    "VIA": ({"via.json": json.dumps(VIA)}, ["VIA", "via.json", "Export"]),
    "VIA regions": ({"r.json": json.dumps({"a.jpg1": VIA["_via_img_metadata"]["a.jpg1"]})}, ["VIA"]),  # type: ignore[index]
    "labelme": (
        {"a.json": json.dumps(LABELME), "b.json": json.dumps(LABELME)},
        ["labelme", "labelme2coco /", "/data --export_dir /", "a.json, b.json"],
    ),
    "Label Studio": ({"p.json": '[{"type": "polygonlabels"}]'}, ["Label Studio"]),
    "CVAT": ({"annotations.xml": "<?xml version='1.0'?>\n<annotations>\n</annotations>"}, ["CVAT"]),
    "VOC": ({"Annotations/a.xml": XML}, ["PASCAL VOC", "Annotations/a.xml", "datum convert"]),
    "YOLO": (
        {"labels/a.txt": "0 0.5 0.5 0.25 0.125\n3 0.1 0.2 0.3 0.4\n", "data.yaml": "names: [a]"},
        ["YOLO", "datum convert -i /", "/data-coco -- --save-media", "'datumaro[cli]'"],
    ),
    "YOLO masks": ({"a.txt": "0 0.5 0.5 0.25 0.125 0.3 0.5\n"}, ["YOLO"]),
    "other keys": ({"x.json": '{"frames": [], "labels": 1}'}, ["other keys", 'x.json ("frames", "labels")']),
    "no JSON": ({"x.json": "{"}, ["x.json (not readable as JSON)"]),
    "images": ({"a.jpg": "", "b.jpg": "", "notes.txt": "done"}, ["no annotation file", "Files there: 3", "a.jpg"]),
    "an archive": ({"export.zip": ""}, ["export.zip: unpack it"]),
    "nothing": ({}, ["empty"]),
    "one file": (
        {"train/_annotations.coco.json": json.dumps(COCO)},
        ["contrastmask split-data", "_annotations.coco.json"],
    ),
    "names": ({"a.json": json.dumps(COCO), "b.json": json.dumps(COCO)}, ["a.json, b.json", "--train FILE --val FILE"]),
}


def fill(root: Path, files: dict[str, str]) -> Path:
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("name", FOUND)
def test_what_is_there_is_named(tmp_path, name):
    files, words = FOUND[name]
    root = fill(tmp_path / "data", files)
    with pytest.raises(DataError) as caught:
        find_parts({"kind": "folder"}, root)
    message = str(caught.value)
    assert "Looked for" in message and "annotations/instances_train.json (missing)" in message
    assert all(word in message for word in words), message


def test_roboflows_export_is_found(tmp_path):
    layout = {f"{part}/_annotations.coco.json": json.dumps(COCO) for part in ("train", "valid", "test")}
    train, val = find_parts({"kind": "folder"}, fill(tmp_path / "data", layout))
    assert (train.annotations.parent.name, val.images.name) == ("train", "valid")


LAYOUTS = {
    "beside": (["train.json", "val.json"], "a.jpg", ["", "train.json", "", "val.json"]),
    "split": (
        ["all.json", "all-train.json", "all-val.json"],
        "pics/a.jpg",
        ["pics", "all-train.json", "pics", "all-val.json"],
    ),
    "split though it was named train, as an export without other parts": (
        ["train/c.json", "train/c-train.json", "train/c-val.json"],
        "train/a.jpg",
        ["train", "train/c-train.json", "train", "train/c-val.json"],
    ),
    "folders": (
        ["x/train/c.json", "x/test/c.json"],
        "x/img/a.jpg",
        ["x/img", "x/train/c.json", "x/img", "x/test/c.json"],
    ),
    "Jupyter's copies and macOS's": (
        ["train.json", "val.json", ".ipynb_checkpoints/train-checkpoint.json", "__MACOSX/val.json"],
        "i/a.jpg",
        ["i", "train.json", "i", "val.json"],
    ),
    "key points": (
        ["a/instances_Train.json", "a/instances_Validation.json", "a/person_keypoints_Train.json"],
        "images/Train/a.jpg",
        ["images/Train", "a/instances_Train.json", "images/Train", "a/instances_Validation.json"],
    ),
    "deeper than the layout": (
        ["annotations/instances_train.json", "annotations/instances_val.json", "val/images/x.txt"],
        "train/images/a.jpg",
        ["train/images", "annotations/instances_train.json", "train/images", "annotations/instances_val.json"],
    ),
    "valid first": (["train.json", "valid.json", "test.json"], "i/a.jpg", ["i", "train.json", "i", "valid.json"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_files_and_images_are_found_by_their_names(tmp_path, name):
    files, image, expected = LAYOUTS[name]
    root = fill(tmp_path / "data", dict.fromkeys(files, json.dumps(COCO)) | {image: ""})
    dataset = survey(root)
    keys = ("train_images_dir", "train_annotations", "val_images_dir", "val_annotations")
    assert [dataset[key] for key in keys] == [part or "." for part in expected]
    assert find_parts({key: dataset[key] for key in ("kind", *keys)}, root)


@pytest.mark.parametrize("name", ["/data/local-files/?d=up/b%20c.jpg", "https://x.org/up/b%20c.jpg?sig=1"])
def test_images_are_found_by_an_address(tmp_path, name):
    text = json.dumps(COCO | {"images": [{"id": 1, "file_name": name}]})
    root = fill(tmp_path / "data", {"train.json": text, "val.json": text, "i/b c.jpg": ""})
    assert survey(root)["train_images_dir"] == "i"


def test_images_that_are_nowhere_are_named(tmp_path):
    root = fill(tmp_path / "data", {"train.json": json.dumps(COCO), "val.json": json.dumps(COCO)})
    with pytest.raises(DataError, match=r"no folder below .* holds its images \('a\.jpg'\)"):
        survey(root)


def test_files_that_a_person_names_are_taken(tmp_path):
    root = fill(tmp_path / "data", {"a.json": json.dumps(COCO), "i/a.jpg": ""})
    other = fill(tmp_path / "other", {"b.json": json.dumps(COCO)}) / "b.json"
    dataset = survey(root, {"train": root / "a.json", "val": other})
    assert (dataset["train_annotations"], dataset["val_annotations"]) == ("a.json", str(other))
    assert dataset["val_images_dir"] == "i" and find_parts({k: v for k, v in dataset.items() if k != "root"}, root)
    with pytest.raises(DataError, match=r"via\.json: is no COCO file"):
        survey(fill(root, {"via.json": "[]"}), {"train": root / "via.json", "val": other})
