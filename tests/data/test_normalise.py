"""What everything after verification reads: our ids, nothing missing, one encoding; originals come back in output."""

import copy
import json
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from contrastmask.data.dataset import prepare, read_dataset
from contrastmask.data.normalise import Originals
from contrastmask.errors import DataError
from contrastmask.evaluation.coco_metrics import coco_metrics
from contrastmask.runtime.files import write_json
from tests.data.test_dataset import FOLDER, coco_part, failure

IDS = (
    st.integers(-(10**64) + 1, 10**64 - 1)
    | st.text(string.ascii_letters + string.digits + "-_é", min_size=1, max_size=64)
    | st.integers(2**63 - 3, 2**63 + 3)
    | st.integers(0, 9)
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "photos"
    for part in ("train", "val"):
        write_json(
            root / "annotations" / f"instances_{part}.json", coco_part(root / part, 1 if part == "train" else 101)
        )
    return root


def content(root: Path, part: str = "val") -> dict:
    return json.loads((root / "annotations" / f"instances_{part}.json").read_text())


def copy_of(root: Path, change, folder: Path, raw=lambda coco: json.dumps(coco).encode()) -> tuple[dict, Path]:
    """A data set whose annotation files are changed and whose images are `root`'s; its config and its folder."""
    for part in ("train", "val"):
        coco = content(root, part)
        change(coco)
        folder.mkdir(exist_ok=True)
        (folder / f"{part}.json").write_bytes(raw(coco))
    files = {f"{part}_annotations": str(folder / f"{part}.json") for part in ("train", "val")}
    return FOLDER | files | {f"{part}_images_dir": part for part in ("train", "val")}, root


def renumber(coco: dict, images: list, annotations: list, categories: list) -> None:
    new = {
        key: dict(zip((row["id"] for row in coco[key]), ids, strict=False))
        for key, ids in (("images", images), ("annotations", annotations), ("categories", categories))
    }
    for key in new:
        for row in coco[key]:
            row["id"] = new[key][row["id"]]
    for annotation in coco["annotations"]:
        annotation["image_id"] = new["images"][annotation["image_id"]]
        annotation["category_id"] = new["categories"][annotation["category_id"]]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=st.lists(IDS, min_size=3, max_size=3, unique=True),
    annotations=st.lists(IDS, min_size=4, max_size=4, unique_by=str),  # 1 beside "1" is refused: test_dataset
    categories=st.lists(IDS, min_size=2, max_size=2, unique=True),
)
def test_any_ids_give_the_same_numbers_and_come_back(root, tmp_path, images, annotations, categories):
    """Perfect detections have AP 1, whatever the ids."""
    config, _ = copy_of(root, lambda coco: renumber(coco, images, annotations, categories), tmp_path / "in")
    dataset = prepare(config, root, tmp_path / "dataset.json")
    truth = COCO(dataset["val"]["annotations"])
    assert all(0 <= id < 2**53 for rows in (truth.imgs, truth.anns, truth.cats) for id in rows)
    perfect = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9, "segmentation": truth.annToRLE(a)}
        for a in truth.anns.values()
        if not a["iscrowd"]
    ]
    found = coco_metrics(truth, perfect, iou_type="segm", subsets={"all": list(truth.cats)})
    assert found.by_subset["all"]["AP"] == 1
    originals = Originals(truth)
    written = originals.detections(perfect)
    assert {d["image_id"] for d in written} == set(images) and {d["category_id"] for d in written} <= set(categories)
    assert originals.our_detections(written) == perfect
    readings = originals.readings([(id, a["category_id"], 0.5) for id, a in truth.anns.items()])
    assert [r[0] for r in readings] == annotations
    assert [originals.our_annotations()[str(r[0])] for r in readings] == list(truth.anns)


def test_ids_that_can_be_kept_are_kept(root, tmp_path):
    dataset = prepare(FOLDER, root, tmp_path / "dataset.json")
    written = json.loads(Path(dataset["val"]["annotations"]).read_text())
    assert [a["id"] for a in written["annotations"]] == [1010, 1020, 1030, 9101]
    assert written["annotations"] == content(root)["annotations"]
    assert written["categories"] == dataset["categories"] == content(root)["categories"]
    assert read_dataset(tmp_path / "dataset.json")["val"]["source"].endswith("annotations/instances_val.json")


def test_what_is_missing_is_filled_in(root, tmp_path, capsys):
    def strip(coco: dict) -> None:
        for annotation in coco["annotations"]:
            del annotation["area"]
            if not annotation.pop("iscrowd"):
                annotation["segmentation"] = annotation["segmentation"][0]
        if coco["images"][0]["id"] == 1:  # evaluation needs masks on all objects of a category
            coco["annotations"][0] |= {"segmentation": None, "area": None, "iscrowd": None}
        coco["annotations"][3] |= {"iscrowd": 1}

    config, _ = copy_of(root, strip, tmp_path / "in")
    for_train = json.loads(Path(prepare(config, root, tmp_path / "d.json")["train"]["annotations"]).read_text())
    first, second, _, crowd = for_train["annotations"]
    assert [a["iscrowd"] for a in for_train["annotations"]] == [0, 0, 0, 1]
    assert first["area"] == 200 and 90 <= second["area"] <= 110 and crowd["area"] == 60
    assert second["segmentation"] == [[4, 5, 24, 5, 14, 15]]
    assert "5 segmentations that are a list of points or numbers" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_encodings_of_windows(root, tmp_path, encoding):
    def rename(coco: dict) -> None:
        coco["categories"][0]["name"] = "Förderband"

    def raw(coco: dict) -> bytes:
        return json.dumps(coco, ensure_ascii=False).encode(encoding)

    dataset = prepare(copy_of(root, rename, tmp_path / "in", raw)[0], root, tmp_path / "d.json")
    assert dataset["categories"][0]["name"] == "Förderband"
    assert COCO(dataset["train"]["annotations"]).cats[1]["name"] == "Förderband"


def test_categories_are_told_by_their_names(root, tmp_path):
    """Another order or other ids in val are no other categories."""
    config, _ = copy_of(root, lambda coco: None, tmp_path / "in")
    path = tmp_path / "in" / "val.json"
    coco = json.loads(path.read_text())
    renumber(coco, *([row["id"] for row in coco[key]] for key in ("images", "annotations")), [7, 5])
    coco["categories"].reverse()
    path.write_text(json.dumps(coco))
    dataset = prepare(config, root, tmp_path / "d.json")
    written = json.loads(Path(dataset["val"]["annotations"]).read_text())
    assert written["annotations"] == content(root)["annotations"] and written["categories"] == dataset["categories"]


def test_val_may_list_fewer_categories_or_others_that_it_does_not_use(root, tmp_path):
    """Tools that convert train and val apart list what they find in each."""
    config, _ = copy_of(root, lambda coco: None, tmp_path / "in")
    path = tmp_path / "in" / "val.json"
    coco = json.loads(path.read_text())
    coco["annotations"] = [a for a in coco["annotations"] if a["category_id"] == 2]
    coco["categories"] = [{"id": 5, "name": "tram"}, {"id": 2, "name": "bicycle"}]
    path.write_text(json.dumps(coco))
    dataset = prepare(config, root, tmp_path / "d.json")
    written = json.loads(Path(dataset["val"]["annotations"]).read_text())
    assert written["categories"] == dataset["categories"] == content(root)["categories"]
    assert {a["category_id"] for a in written["annotations"]} == {2}


def test_crowds_are_objects_if_asked(root, tmp_path):
    config, _ = copy_of(root, lambda coco: [a.update(iscrowd=1) for a in coco["annotations"]], tmp_path / "in")
    as_they_are = prepare(config, root, tmp_path / "a.json")
    dataset = prepare(config | {"crowds": "objects"}, root, tmp_path / "b.json")
    written = json.loads(Path(dataset["train"]["annotations"]).read_text())
    assert not any(a["iscrowd"] for a in written["annotations"]) and dataset["digest"] != as_they_are["digest"]
    assert "crowds must be" in failure(root, FOLDER | {"crowds": "people"})


def test_backslashes_are_read_as_slashes(root, tmp_path, capsys):
    def windows(coco: dict) -> None:
        for image in coco["images"]:
            image["file_name"] = f"..\\{'val' if image['id'] > 100 else 'train'}\\{image['file_name']}"

    dataset = prepare(copy_of(root, windows, tmp_path / "in")[0], root, tmp_path / "d.json")
    assert "6 file names with backslashes" in capsys.readouterr().err
    assert "..\\" not in Path(dataset["train"]["annotations"]).read_text()


WRONG = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**40, "", "x", "\0.jpg", "x" * 300, [], [1], {}, {"a": 1}, [[1, 2, 3]], float("inf")]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=WRONG)
def test_any_wrong_value_is_one_readable_error_or_none(root, tmp_path, data, value):
    """Never a traceback of another kind, whatever stands where."""
    coco = copy.deepcopy(content(root, "train"))
    key = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    row = data.draw(st.sampled_from(coco[key]))
    field = data.draw(st.sampled_from([*row, "area", "ignore"]))
    if data.draw(st.booleans()):
        row[field] = value
    else:
        coco[key] = value
    config, _ = copy_of(root, lambda _: None, tmp_path / "in")
    (tmp_path / "in" / "train.json").write_text(json.dumps(coco))
    try:
        prepare(config, root, tmp_path / "d.json")
    except DataError as error:
        assert "\n" in str(error) or "Infinity" in str(error)
