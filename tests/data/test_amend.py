"""What real exports write otherwise than COCO's files is read as what it can only mean, and counted in a warning."""

import json
from pathlib import Path

import pytest
from PIL import Image

from contrastmask.data.dataset import prepare
from tests.data.test_dataset import FOLDER, edit, failure
from tests.data.test_dataset import root as root  # a fixture


def each(key: str, change):
    """Apply `change` to every row of a list."""
    return lambda coco: [change(row) for row in coco[key]]


def points(annotation: dict) -> list[list[float]]:
    flat = annotation["segmentation"][0]
    return [list(point) for point in zip(flat[::2], flat[1::2], strict=True)]


def masked(change):
    """Change the segmentation of objects, which is a polygon."""
    return each("annotations", lambda a: a["iscrowd"] or a.update(segmentation=change(a)))


OTHERWISE = {  # the change, and what is said
    "sizes missing": (each("images", lambda i: (i.pop("width"), i.pop("height"))), "6 images without width and height"),
    "sizes null": (each("images", lambda i: i.update(width=None)), "6 images without width and height"),
    "sizes 0": (each("images", lambda i: i.update(width=0, height=0)), "6 images without width and height"),
    "sizes as texts": (
        each("images", lambda i: i.update(width="40", height="30")),
        '6 values of "width" that are texts',
    ),
    "sizes as 40.0": (each("images", lambda i: i.update(width=40.0)), '6 values of "width" written as 1.0'),
    "ids as 1.0": (each("annotations", lambda a: a.update(image_id=float(a["image_id"]))), '8 values of "image_id" wr'),
    "references as texts": (
        each("annotations", lambda a: a.update(category_id=str(a["category_id"]))),
        '8 values of "category_id" that are texts where the ids are numbers',
    ),
    "boxes as texts": (each("annotations", lambda a: a.update(bbox=[str(v) for v in a["bbox"]])), "8 boxes whose"),
    "boxes missing": (each("annotations", lambda a: a["iscrowd"] or a.pop("bbox")), "6 boxes that are missing"),
    "boxes empty": (each("annotations", lambda a: a["iscrowd"] or a.update(bbox=[])), "6 boxes that are missing"),
    "area as a text": (each("annotations", lambda a: a.update(area=str(a["area"]))), '8 values of "area" that are'),
    "crowds as texts": (each("annotations", lambda a: a.update(iscrowd=str(a["iscrowd"]))), '8 values of "iscrowd"'),
    "crowds as booleans": (each("annotations", lambda a: a.update(iscrowd=bool(a["iscrowd"]))), ""),
    "points": (masked(points), "6 segmentations that are a list of points"),
    "polygons of points": (masked(lambda a: [points(a)]), "6 segmentations that are a list of points"),
    "a flat polygon": (masked(lambda a: a["segmentation"][0]), "6 segmentations that are a list of points"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_it_is_read_as_what_it_means(root, tmp_path, capsys, name):
    written = []
    for change in (lambda coco: None, OTHERWISE[name][0]):
        for part in ("train", "val"):
            edit(root, change, part)
        dataset = prepare(FOLDER, root, tmp_path / "d.json")
        written.append([json.loads(Path(dataset[part]["annotations"]).read_text()) for part in ("train", "val")])
    assert written[0] == written[1]
    said = capsys.readouterr().err
    assert OTHERWISE[name][1] in said and bool(said) == bool(OTHERWISE[name][1]), said


def test_missing_ids_of_annotations_are_numbers(root, tmp_path, capsys):
    edit(root, each("annotations", lambda a: a.pop("id")))
    written = json.loads(Path(prepare(FOLDER, root, tmp_path / "d.json")["train"]["annotations"]).read_text())
    assert [a["id"] for a in written["annotations"]] == [1, 2, 3, 4]
    assert "4 annotations without an id" in capsys.readouterr().err
    edit(root, lambda coco: coco["annotations"][2].update(id=7))
    assert 'annotations[0]: "id" must be' in failure(root), "of some alone nobody knows what they are"


def test_names_that_are_numbers_are_texts(root, tmp_path):
    for part in ("train", "val"):
        edit(root, each("categories", lambda c: c.update(name=c["id"] + 10)), part)
    assert [c["name"] for c in prepare(FOLDER, root, tmp_path / "d.json")["categories"]] == ["11", "12"]


def test_a_reference_is_not_guessed_where_two_ids_are_alike(root):
    edit(root, lambda coco: (coco["images"][0].update(id="3"), coco["annotations"][1].update(image_id="2")))
    message = failure(root)
    assert "image_id 1 is not in" in message and "image_id '2' is not in" in message


# ---------------------------------------------------------------------------- file names

ELSEWHERE = {
    "folder named twice": "train/{}",
    "another machine": "C:\\Users\\me\\train\\{}",
    "its root": "/home/me/photos/{}",
    "an address": "https://host/a%20b/{}?token=1",
    "Label Studio's folders": "/data/local-files/?d=photos/{}",
    "capital letters": "{}",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_name_of_another_machine_is_the_image_it_ends_in(root, tmp_path, capsys, name):
    def rename(image: dict) -> None:
        image["file_name"] = ELSEWHERE[name].format(image["file_name"])
        if name == "capital letters":
            image["file_name"] = image["file_name"].upper()

    edit(root, each("images", rename))
    written = json.loads(Path(prepare(FOLDER, root, tmp_path / "d.json")["train"]["annotations"]).read_text())
    assert [image["file_name"] for image in written["images"]] == ["001.jpg", "002.jpg", "003.jpg"]
    assert "3 file names with folders, an address or letters of another machine" in capsys.readouterr().err


def test_the_longest_end_counts_and_two_names_are_never_one_image(root):
    (root / "train" / "b").mkdir()
    (root / "train" / "002.jpg").rename(root / "train" / "b" / "001.jpg")
    edit(root, lambda coco: coco["images"][0].update(file_name="/x/a/001.jpg"))
    edit(root, lambda coco: coco["images"][1].update(file_name="/x/b/001.jpg"))
    prepare(FOLDER, root, root / "d.json")
    edit(root, lambda coco: coco["images"][1].update(file_name="/x/c/001.jpg"))
    assert "images: file_name '001.jpg' occurs 2 times" in failure(root)


def test_characters_written_as_macos_does(root, tmp_path):
    (root / "train" / "001.jpg").rename(root / "train" / "u\u0308.jpg")
    edit(root, lambda coco: coco["images"][0].update(file_name="\u00fc.jpg"))
    prepare(FOLDER, root, tmp_path / "d.json")


def test_another_ending_is_named(root):
    edit(root, each("images", lambda i: i.update(file_name=i["file_name"].replace(".jpg", ".png"))))
    assert "3 image files missing, while there are files of these names with another ending" in failure(root)


def test_an_unreadable_image_without_a_size_is_one_problem(root):
    (root / "train" / "001.jpg").write_text("<html>404</html>")
    edit(root, each("images", lambda i: i.pop("width")))
    message = failure(root)
    assert "the data is not usable: 1 problem" in message and "it begins with b'<html>404</html>'" in message


# ---------------------------------------------------------------------------- boxes

BOXES = {
    "two corners": lambda x, y, w, h: [x, y, x + w, y + h],
    "[centre x, centre y, width, height]": lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
    "as shares of the image": lambda x, y, w, h: [x / 40, y / 30, w / 40, h / 30],
    "width, height] as shares of the image": lambda x, y, w, h: [(x + w / 2) / 40, (y + h / 2) / 30, w / 40, h / 30],
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes_that_are_not_cocos_are_told_by_the_polygons(root, name):
    edit(root, each("annotations", lambda a: a.update(bbox=BOXES[name](*a["bbox"]))))
    message = failure(root)
    assert (
        "files whose boxes are not [x, y, width, height]" in message
        and name in message
        and "of annotation 10" in message
    )


def test_boxes_that_were_drawn_apart_from_the_polygons_are_fine(root, tmp_path):
    edit(root, each("annotations", lambda a: a.update(bbox=[2, 2, 30, 20])))
    prepare(FOLDER, root, tmp_path / "d.json")


def rectangle(annotation: dict) -> None:
    x, y, w, h = annotation["bbox"]
    if annotation["category_id"] == 1:
        annotation |= {"iscrowd": 0, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}


def test_rectangles_that_may_be_boxes_are_told_and_left_out_if_asked(root, tmp_path, capsys):
    """Roboflow and others export a box as the polygon of its corners; without a word masks would be learned of it."""
    for part in ("train", "val"):
        edit(root, each("annotations", rectangle), part)
    as_they_are = prepare(FOLDER, root, tmp_path / "a.json")
    assert "all of person; if a tool drew boxes so, say it: `contrastmask init FOLDER --boxes-only person`" in (
        capsys.readouterr().err
    )
    dataset = prepare(FOLDER | {"boxes_only": ["person"]}, root, tmp_path / "b.json")
    assert dataset["digest"] != as_they_are["digest"]
    for part in ("train", "val"):
        written = json.loads(Path(dataset[part]["annotations"]).read_text())["annotations"]
        assert all(bool(a["segmentation"]) == (a["category_id"] == 2) for a in written)
    assert "2 masks that are left out (boxes_only)" in capsys.readouterr().err


def test_boxes_only_names_categories(root):
    assert "'drum' is none of bicycle, person" in failure(root, FOLDER | {"boxes_only": ["drum"]})
    assert "a list of category names, not 'drum'" in failure(root, FOLDER | {"boxes_only": "drum"})


def test_formats_that_are_not_decoded_are_refused_before_training(root):
    Image.new("RGB", (40, 30)).save(root / "train" / "001.tga")
    edit(root, lambda coco: coco["images"][0].update(file_name="001.tga"))
    message = failure(root)
    assert (
        "images of a format that is not read here: save them as JPEG or PNG" in message and "is a TGA image" in message
    )
