"""`prepare` accepts good data in every layout and names each fault, its file and its fix."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contrastmask.data.dataset import prepare, read_dataset
from contrastmask.errors import DataError
from contrastmask.runtime.files import write_json

FOLDER = {"kind": "folder"}


def coco_part(folder: Path, first_id: int, count: int = 3) -> dict:
    """`count` images of 40x30 in `folder`, each with a polygon, and a crowd on the first."""
    folder.mkdir(parents=True)
    images, annotations = [], []
    for image_id in range(first_id, first_id + count):
        name = f"{image_id:03d}.jpg"
        Image.new("RGB", (40, 30), (image_id % 255, 80, 90)).save(folder / name)
        images.append({"id": image_id, "file_name": name, "width": 40, "height": 30})
        annotations.append(
            {
                "id": 10 * image_id,
                "image_id": image_id,
                "category_id": 1 + image_id % 2,
                "bbox": [4, 5, 20, 10],
                "area": 100,
                "iscrowd": 0,
                "segmentation": [[4, 5, 24, 5, 14, 15]],
            }
        )
    crowd = {"counts": [0, 60, 1140], "size": [30, 40]}
    annotations.append({**annotations[0], "id": 9000 + first_id, "iscrowd": 1, "segmentation": crowd})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
    }


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "photos"
    for part, first_id in (("train", 1), ("val", 101)):
        write_json(root / "annotations" / f"instances_{part}.json", coco_part(root / part, first_id))
    return root


def edit(root: Path, change, part: str = "train") -> None:
    path = root / "annotations" / f"instances_{part}.json"
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))


def failure(root: Path, config: dict = FOLDER) -> str:
    out = root.parent / "refused.json"
    with pytest.raises(DataError) as caught:
        prepare(config, root, out)
    assert not out.exists()
    return str(caught.value)


def test_folder_is_described(root, tmp_path):
    out = tmp_path / "out" / "dataset.json"
    dataset = prepare(FOLDER, root, out)
    assert dataset == read_dataset(out)
    assert (dataset["name"], dataset["kind"], len(dataset["digest"])) == ("photos", "folder", 32)
    assert (dataset["train"]["n_images"], dataset["train"]["n_annotations"]) == (3, 4)
    assert Path(dataset["val"]["images"]) == root / "val"
    assert dataset["categories"] == [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
    assert not list(out.parent.glob("*.tmp"))


def test_digest_follows_the_content_and_not_the_place(root, tmp_path):
    digest = prepare(FOLDER, root, tmp_path / "a.json")["digest"]
    shutil.copytree(root, tmp_path / "copy")
    assert prepare(FOLDER, tmp_path / "copy", tmp_path / "b.json")["digest"] == digest
    Image.new("RGB", (40, 30), (255, 0, 255)).save(root / "train" / "001.jpg", quality=30)
    assert prepare(FOLDER, root, tmp_path / "c.json")["digest"] != digest
    edit(tmp_path / "copy", lambda coco: coco["annotations"][0].update(area=99))
    assert prepare(FOLDER, tmp_path / "copy", tmp_path / "d.json")["digest"] != digest


def test_coco_layout_explicit_paths_and_name(root, tmp_path):
    digest = prepare(FOLDER, root, tmp_path / "a.json")["digest"]
    coco = tmp_path / "coco"
    shutil.copytree(root, coco)
    for part in ("train", "val"):
        (coco / part).rename(coco / f"{part}2017")
        (coco / f"annotations/instances_{part}.json").rename(coco / f"annotations/instances_{part}2017.json")
    for kind in ("coco", "folder"):
        assert prepare({"kind": kind, "name": "mine"}, coco, tmp_path / "b.json")["name"] == "mine"
    explicit = {"train_images_dir": "train2017", "train_annotations": "annotations/instances_train2017.json"}
    explicit |= {"val_images_dir": "val2017", "val_annotations": "annotations/instances_val2017.json"}
    assert prepare(FOLDER | explicit, coco, tmp_path / "c.json")["digest"] == digest
    assert "val_annotations missing" in failure(coco, FOLDER | dict(list(explicit.items())[:3]))


def test_missing_folder_says_what_was_looked_for(tmp_path):
    message = failure(tmp_path / "nowhere")
    assert "nowhere" in message and "train2017 (missing)" in message and "instances_val.json" in message
    assert "train2017" in failure(tmp_path / "nowhere", {"kind": "coco"})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kind": "cocoa"}, ["kind", "coco, folder", "cocoa"]),
        ({"kind": "folder", "train_dir": "x"}, ["train_dir", "train_images_dir"]),
        ({"kind": "synthetic", "train_images": 2}, ["val_images", "image_size"]),
        (
            {"kind": "synthetic", "train_images": 2, "val_images": 1, "image_size": 4, "seed": 0},
            ["image_size", ">= 64"],
        ),
    ],
)
def test_bad_configuration(tmp_path, config, words):
    message = failure(tmp_path, config)
    assert all(word in message for word in words)


def update(key, position, **values):
    return lambda coco: coco[key][position].update(values)


def drop(key, position, field):
    return lambda coco: coco[key][position].pop(field)


TRAIN = "instances_train.json"
CORRUPTIONS = {
    "no list": (lambda coco: coco.pop("annotations"), [TRAIN, '"annotations"']),
    "no images": (lambda coco: coco.update(images=[], annotations=[]), [TRAIN, "no images"]),
    "no annotations": (lambda coco: coco.update(annotations=[]), [TRAIN, "no annotations", "add some"]),
    "no key": (drop("images", 1, "file_name"), [TRAIN, "images[1]", '"file_name"', "a text"]),
    "wide": (update("images", 1, width=40.5), [TRAIN, "images[1]", '"width"', "a whole number, not 40.5"]),
    "wrong type": (update("annotations", 0, bbox="1 2 3 4"), [TRAIN, "annotations[0]", '"bbox"']),
    "text area": (update("annotations", 2, area="big"), [TRAIN, "area 'big'", "area is one number"]),
    "fraction as id": (update("annotations", 2, id=1.5), [TRAIN, "annotations[2]", '"id"', "or a text, not 1.5"]),
    "image id twice": (update("images", 1, id=1), [TRAIN, "images", "id 1 occurs 2 times"]),
    "file twice": (update("images", 1, file_name="001.jpg"), [TRAIN, "'001.jpg' occurs 2 times", "keep one entry"]),
    "annotation id twice": (update("annotations", 1, id=10), [TRAIN, "annotations: id 10 occurs 2"]),
    "annotation id as number and text": (
        update("annotations", 1, id="10"),
        [TRAIN, "annotations: id '10'", "as a number and as a text"],
    ),
    "category id twice": (update("categories", 1, id=1), [TRAIN, "categories: id 1 occurs 2"]),
    "category name twice": (update("categories", 1, name="person"), [TRAIN, "'person' occurs 2"]),
    "unknown image": (update("annotations", 0, image_id=77), [TRAIN, "annotation 10", "image_id 77", "remove"]),
    "unknown category": (update("annotations", 0, category_id=5), [TRAIN, "category_id 5", "add the category"]),
    "crowd flag": (update("annotations", 0, iscrowd=2), [TRAIN, "annotation 10", "iscrowd is 2", "set 0"]),
    "three numbers": (update("annotations", 0, bbox=[1, 2, 3]), [TRAIN, "[1, 2, 3]", "four finite numbers"]),
    "huge number": (update("annotations", 0, bbox=[1, 2, 3, 10**400]), [TRAIN, "annotation 10"]),
    "negative box": (update("annotations", 0, bbox=[20, 20, -5, 4]), [TRAIN, "below zero", "[x, y, width, height]"]),
    "box outside": (update("annotations", 0, bbox=[50, 5, 9, 9]), [TRAIN, "outside", "in an image of 40x30"]),
    "empty polygon": (update("annotations", 0, segmentation=[[]]), [TRAIN, "annotation 10", "3 or more points"]),
    "odd polygon": (update("annotations", 0, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), [TRAIN, "3 or more points"]),
    "text polygon": (update("annotations", 0, segmentation=[["1"] * 6]), [TRAIN, "no list of coordinates"]),
    "text beside a polygon": (
        update("annotations", 0, segmentation=["abcdef", [1, 1, 9, 1, 9, 9]]),
        [TRAIN, "annotation 10", "'abcdef', which is no list of coordinates"],
    ),
    "half a character": (update("images", 0, file_name="\ud800.jpg"), [TRAIN, "half of a character"]),
    "text mask": (update("annotations", 0, segmentation="abc"), [TRAIN, "neither polygons nor RLE"]),
    "turned RLE": (
        update("annotations", 3, segmentation={"counts": [1200], "size": [40, 30]}),
        [TRAIN, "annotation 9001", "[30, 40]"],
    ),
    "short RLE": (
        update("annotations", 3, segmentation={"counts": [0, 9], "size": [30, 40]}),
        [TRAIN, "sum to 9", "1200"],
    ),
    "recorded size": (update("images", 0, width=41), ["train/001.jpg", "is 40x30, recorded as 41x30"]),
    "other categories": (
        update("categories", 1, name="bike"),
        [f"{TRAIN}: lacks 'bicycle', a category of objects of instances_val.json", "correct the name"],
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_corruption_is_named(root, name):
    change, words = CORRUPTIONS[name]
    edit(root, change)
    message = failure(root)
    assert all(word in message for word in words), message


def test_nan_and_cut_json(root):
    path = root / "annotations" / TRAIN
    text = path.read_text()
    path.write_text(text.replace('"area": 100', '"area": NaN', 1))
    assert TRAIN in failure(root) and "NaN" in failure(root)
    path.write_text(text[: len(text) // 2])
    assert TRAIN in failure(root) and "not valid JSON" in failure(root) and "again" in failure(root)
    path.write_text("[]")
    assert "must be a JSON object" in failure(root)


def test_damaged_images(root):
    (root / "train" / "001.jpg").unlink()
    whole = (root / "train" / "002.jpg").read_bytes()
    (root / "train" / "002.jpg").write_bytes(whole[:-40])
    (root / "train" / "003.jpg").write_text("not an image")
    message = failure(root)
    assert "3 problems" in message
    for words in ("train/001.jpg: missing", "train/002.jpg: cannot be read", "train/003.jpg: cannot be read"):
        assert words in message
    assert f"listed in {root / 'annotations' / TRAIN}" in message


MOVES = {  # where the images are moved to, their new names in the file, and what is said
    "beside the annotations": ("annotations", "{}", "lie beside the annotation file"),
    "a folder above": ("photos", "photos/{}", "repeats the name of their folder"),
    "nowhere": ("elsewhere/far", "{}", "check data_root"),
}


@pytest.mark.parametrize("name", MOVES)
def test_the_fix_of_a_missing_image_is_the_right_one(root, name):
    folder, pattern, words = MOVES[name]
    (root / folder).mkdir(parents=True, exist_ok=True)
    for image in list((root / "train").iterdir()):
        image.rename(root / folder / image.name)
    edit(root, lambda coco: [i.update(file_name=pattern.format(i["file_name"])) for i in coco["images"]])
    message = failure(root)
    assert words in message and "  3 image" in message, message


def test_problems_are_told_by_kind_the_first_to_mend_first(root):
    edit(root, lambda coco: [a.update(bbox=[50, 5, 9, 9]) for a in coco["annotations"]])
    edit(root, lambda coco: coco["images"][0].update(width=41))
    edit(root, update("categories", 1, id=1))
    lines = failure(root).splitlines()
    assert "problems of 4 kinds, the first to mend first" in lines[0]
    kinds = [line for line in lines if line.startswith("  ") and line[2].isdigit()]
    told = ["more than once", "does not list", "another size", "outside"]
    assert all(words in kind for words, kind in zip(told, kinds, strict=True)), kinds
    assert all(": " in kind for kind in kinds) and sum(line.startswith("    - ") for line in lines) <= 12


def test_an_orientation_that_nobody_can_decide_is_refused(root):
    """Turned by half, an image has the same size: were its masks drawn on it upright, or as it is stored?"""
    exif = Image.Exif()
    exif[274] = 3
    Image.new("RGB", (40, 30)).save(root / "train" / "001.jpg", exif=exif)
    message = failure(root)
    assert "001.jpg: Exif orientation 3" in message and "auto-orient" in message
    edit(root, lambda coco: coco.update(annotations=[a for a in coco["annotations"] if a["image_id"] != 1]))
    prepare(FOLDER, root, root / "dataset.json")  # nothing is annotated on it


def test_sixteen_bits_are_told(root, capsys):
    Image.fromarray(np.full((30, 40), 900, np.uint16)).save(root / "train" / "001.png")
    edit(root, update("images", 0, file_name="001.png"))
    prepare(FOLDER, root, root / "dataset.json")
    assert "1 images of 16 bits" in capsys.readouterr().err


def test_a_whole_image_that_only_lacks_the_end_mark_is_fine(root):
    with (root / "train" / "001.jpg").open("ab") as stream:
        stream.write(b"\0" * 5000)
    prepare(FOLDER, root, root / "dataset.json")


def test_problems_of_both_parts_are_listed_together(root):
    edit(root, update("annotations", 0, image_id=77))
    edit(root, update("annotations", 0, category_id=9), part="val")
    message = failure(root)
    assert "image_id 77" in message and "category_id 9" in message


def test_many_problems_are_cut_to_a_count(root):
    edit(
        root,
        lambda coco: coco["annotations"].extend({**coco["annotations"][0], "id": i} for i in range(10**5, 10**5 + 50)),
    )
    edit(root, lambda coco: [a.update(image_id=77) for a in coco["annotations"] if a["id"] >= 10**5])
    message = failure(root)
    assert "50 problems" in message and message.count("image_id 77") == 3 and "and 47 more" in message


def test_train_and_val_may_number_and_name_their_images_alike(root, tmp_path):
    """As Roboflow's exports do: every file counts from its own beginning."""

    def renumber(coco: dict) -> None:
        ours = {image["id"]: number for number, image in enumerate(coco["images"])}
        for image in coco["images"]:
            image["id"] = ours[image["id"]]
        for number, annotation in enumerate(coco["annotations"]):
            annotation |= {"id": number, "image_id": ours[annotation["image_id"]]}

    for part in ("train", "val"):
        edit(root, renumber, part)
    (root / "val" / "101.jpg").rename(root / "val" / "001.jpg")
    edit(root, update("images", 0, file_name="001.jpg"), part="val")
    prepare(FOLDER, root, tmp_path / "dataset.json")


def test_train_and_val_must_not_share_images(root):
    shutil.copy(root / "train" / "001.jpg", root / "val" / "001.jpg")
    edit(root, update("images", 0, file_name="001.jpg"), part="val")
    message = failure(root)
    assert "1 images in both train and val" in message and "train/001.jpg and its copy" in message
    edit(root, update("images", 0, file_name="../train/001.jpg"), part="val")  # its path otherwise written
    assert "1 images in both train and val" in (message := failure(root)) and "and its copy" not in message


def test_what_training_leaves_out_is_counted(root, capsys):
    edit(root, update("annotations", 0, bbox=[4, 5, 0.5, 3]))
    edit(root, lambda coco: coco["annotations"][1].pop("segmentation"))
    edit(root, update("annotations", 2, segmentation=[[1, 2, 3, 4], [4, 5, 24, 5, 14, 15]]))
    edit(root, update("annotations", 3, bbox=[30, 5, 20, 5]))
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 30)).save(root / "train" / "001.jpg", exif=exif)
    prepare(FOLDER, root, root / "dataset.json")
    warnings = capsys.readouterr().err
    for words in ("1 boxes thinner", "1 annotations without", "1 annotations with an invalid", "1 boxes that leave"):
        assert words in warnings
    assert "1 images whose Exif says to turn them: read as stored" in warnings


def test_val_of_coco_needs_masks(root):
    edit(root, update("annotations", 0, segmentation=[]), part="val")
    for part in ("train", "val"):
        (root / part).rename(root / f"{part}2017")
        (root / f"annotations/instances_{part}.json").rename(root / f"annotations/instances_{part}2017.json")
    assert "instances_val2017.json: annotation 1010: has no segmentation" in failure(root, {"kind": "coco"})


def unmask(how: str, *categories: int):
    """Take the masks of these categories: the key, or what it holds."""

    def change(coco: dict) -> None:
        for annotation in coco["annotations"]:
            if annotation["category_id"] in categories:
                annotation["segmentation"] = {"empty": [], "null": None, "absent": 0}[how]
                if how == "absent":
                    del annotation["segmentation"]

    return change


@pytest.mark.parametrize("how", ["absent", "null", "empty"])
def test_a_category_of_a_folder_may_have_boxes_only(root, capsys, how):
    for part in ("train", "val"):
        edit(root, unmask(how, 1), part)
    prepare(FOLDER, root, root / "dataset.json")
    assert "1 category has no masks in instances_val.json" in capsys.readouterr().err
    for part in ("train", "val"):
        edit(root, unmask(how, 1, 2), part)
    prepare(FOLDER, root, root / "dataset.json")
    assert "cannot be measured there: person (1), bicycle (2)" in capsys.readouterr().err


def test_a_category_with_some_masks_in_val_is_refused_with_its_counts(root):
    edit(root, update("annotations", 0, segmentation=[]), part="val")
    message = failure(root)
    assert "instances_val.json: bicycle (2) has masks on 1 of its 2 objects" in message
    assert "add the missing ones" in message


def test_synthetic_is_made_once_and_again_when_incomplete(tmp_path):
    config = {"kind": "synthetic", "train_images": 3, "val_images": 2, "image_size": 64, "seed": 0, "categories": 6}
    first = prepare(config, tmp_path / "data", tmp_path / "dataset.json")
    image = tmp_path / "data" / "train" / "train-000000.jpg"
    made = image.stat().st_mtime_ns
    assert prepare(config, tmp_path / "data", tmp_path / "dataset.json") == first
    assert image.stat().st_mtime_ns == made
    image.unlink()
    assert prepare(config, tmp_path / "data", tmp_path / "dataset.json") == first
    image.write_bytes(image.read_bytes()[:-99])
    assert "remove the folder, and it is made again" in failure(tmp_path / "data", config)
    assert prepare(config | {"seed": 1}, tmp_path / "data", tmp_path / "d.json")["digest"] != first["digest"]


def test_coco_mini(shared_dir, tmp_path):
    dataset = prepare({"kind": "coco", "name": "coco-mini"}, shared_dir / "coco-mini", tmp_path / "dataset.json")
    assert (dataset["train"]["n_images"], dataset["val"]["n_images"], len(dataset["categories"])) == (343, 150, 80)
