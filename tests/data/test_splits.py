"""The split lets nothing of a novel mask through, touches nothing else, and explains what is wrong with a list."""

import copy
import hashlib
import json
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrastmask.data.categories import coco_categories
from contrastmask.data.dataset import prepare, read_dataset
from contrastmask.data.splits import parse_setting, resolve, show_split, write_split
from contrastmask.errors import ConfigError, DataError
from contrastmask.runtime.files import write_json

CATEGORIES = [
    {"id": i, "name": name} for i, name in ((1, "person"), (2, "bicycle"), (8, "truck"), (10, "traffic light"))
]
VOC_IDS = {1, 2}


def write_lists(folder: Path, **lists) -> Path:
    """Each list is a list of categories, True for `remaining`, or a text for `inferred`."""
    folder.mkdir(exist_ok=True)
    for name, entries in lists.items():
        body = {"remaining": True} if entries is True else {"categories": entries}
        body = {"inferred": entries} if isinstance(entries, str) else body
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **body}))
    return folder


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    config = {"kind": "synthetic", "train_images": 16, "val_images": 2, "image_size": 64, "seed": 3, "categories": 12}
    prepare(config, folder / "data", folder / "dataset.json")
    return folder / "dataset.json"


def train_of(dataset_json: Path) -> dict:
    return json.loads(Path(read_dataset(dataset_json)["train"]["annotations"]).read_text())


def rectangle(box):
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def test_the_two_lists_halve_cocos_categories():
    base, novel, warnings = resolve("voc2nonvoc", [{"id": c.id, "name": c.name} for c in coco_categories()])
    assert (len(base), len(novel), warnings) == (20, 60, [])
    assert base == [c.id for c in coco_categories() if c.split == "voc"]


@pytest.mark.parametrize("setting", ["nonvoc2voc", "voc2nonvoc"])
def test_coco_splits_into_the_papers_20_and_60(setting, shared_dir):
    paper = json.loads((shared_dir / "paper" / "coco_splits.json").read_text())
    every = sorted(paper["voc"] + paper["nonvoc"], key=lambda c: c["id"])
    base, novel, warnings = resolve(setting, every)
    expected = setting.split("2")
    assert base == [c["id"] for c in every if c in paper[expected[0]]]
    assert novel == [c["id"] for c in every if c in paper[expected[1]]]
    assert not warnings
    assert [(c.id, c.name) for c in coco_categories()] == [(c["id"], c["name"]) for c in every]


@pytest.mark.parametrize("setting", ["nonvoc2voc", "voc2nonvoc"])
def test_novel_masks_are_boxes_and_the_rest_is_untouched(synthetic, tmp_path, setting):
    split = write_split(synthetic, setting, tmp_path)
    before, after = train_of(synthetic), json.loads((tmp_path / "instances_train.json").read_text())
    assert split == json.loads((tmp_path / "split.json").read_text())
    assert after["images"] == before["images"] and after["categories"] == before["categories"]
    counts = {True: 0, False: 0}
    crowds = 0
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        is_novel = old["category_id"] in split["novel"]
        counts[is_novel] += not old["iscrowd"]
        expected = {**old, "segmentation": rectangle(old["bbox"])} if is_novel else old
        crowds += is_novel and old["iscrowd"]
        assert new == expected
    assert (split["n_base_masks"], split["n_novel_boxes"]) == (counts[False], counts[True])
    assert split["sha256"] == hashlib.sha256((tmp_path / "instances_train.json").read_bytes()).hexdigest()
    assert len(split["digest"]) == 32 and min(counts.values()) > 0


def scramble(coco: dict, novel: set[int], rng: random.Random) -> dict:
    """Other novel masks, in the segmentation and in keys of their own."""
    coco = copy.deepcopy(coco)
    for annotation in coco["annotations"]:
        if annotation["category_id"] in novel:
            annotation["segmentation"] = [[rng.uniform(0, 60) for _ in range(8)]]
            annotation["mask_rle"] = rng.random()
    coco["panoptic"] = rng.random()
    return coco


def describe(coco: dict, folder: Path) -> Path:
    """A dataset.json for training annotations alone, as `prepare` would record them."""
    folder.mkdir(exist_ok=True)
    path = folder / "instances.json"
    path.write_text(json.dumps(coco))
    part = {"annotations": str(path), "images": str(folder), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    dataset = {"digest": "0" * 32, "train": part, "val": part, "categories": coco["categories"]}
    write_json(folder / "dataset.json", dataset)
    return folder / "dataset.json"


@st.composite
def coco_dicts(draw) -> dict:
    number = st.floats(0, 50, allow_nan=False).map(lambda v: round(v, 2))
    polygon = st.lists(number, min_size=6, max_size=12).map(lambda p: p[: len(p) // 2 * 2])
    mask = st.lists(polygon, min_size=1, max_size=2) | st.just({"counts": [5, 5], "size": [2, 5]})
    annotation = st.fixed_dictionaries(
        {
            "image_id": st.integers(1, 3),
            "category_id": st.sampled_from([c["id"] for c in CATEGORIES]),
            "bbox": st.lists(number, min_size=4, max_size=4),
            "area": number,
            "iscrowd": st.integers(0, 1),
            "segmentation": mask,
        },
        optional={"ignore": st.booleans(), "extra": polygon},
    )
    learned = {"image_id": 1, "category_id": 8, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    annotations = [learned | {"segmentation": rectangle([1, 1, 9, 9])}, *draw(st.lists(annotation, max_size=12))]
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 50, "height": 50, "mask": 1} for i in (1, 2, 3)],
        "annotations": [{"id": number, **a} for number, a in enumerate(annotations)],
        "categories": CATEGORIES,
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(coco=coco_dicts(), seed=st.integers(0, 99))
def test_any_split_keeps_base_and_no_novel_mask(tmp_path, coco, seed):
    split = write_split(describe(coco, tmp_path / "in"), "nonvoc2voc", tmp_path / "out")
    written = (tmp_path / "out" / "instances_train.json").read_bytes()
    after = json.loads(written)
    assert (split["base"], split["novel"]) == ([8, 10], [1, 2])
    assert [set(image) for image in after["images"]] == [{"id", "file_name", "width", "height"}] * 3
    for old, new in zip(coco["annotations"], after["annotations"], strict=True):
        if old["category_id"] not in VOC_IDS:
            assert new == old
            continue
        same = {"id", "image_id", "category_id", "bbox", "area", "iscrowd"}
        assert all(new[key] == old[key] for key in same)
        assert new["segmentation"] == rectangle(old["bbox"])
        assert set(new) - same - {"segmentation"} == ({"ignore"} if old.get("ignore") else set())
    scrambled = describe(scramble(coco, VOC_IDS, random.Random(seed)), tmp_path / "in")
    write_split(scrambled, "nonvoc2voc", tmp_path / "out")
    assert (tmp_path / "out" / "instances_train.json").read_bytes() == written


def test_a_users_lists_by_name_id_and_remaining(synthetic, tmp_path):
    lists = write_lists(tmp_path / "splits", wheels=["bicycle", 3, "motorcycle"], others=True)
    split = write_split(synthetic, "others2wheels", tmp_path / "out", lists)
    assert split["novel"] == [2, 3, 4] and len(split["base"]) == 9
    other_way = write_split(synthetic, "wheels2others", tmp_path / "out", lists)
    assert (other_way["base"], other_way["novel"]) == (split["novel"], split["base"])
    assert other_way["digest"] != split["digest"]


def test_digest_depends_on_data_setting_and_lists(synthetic, tmp_path):
    lists = write_lists(tmp_path / "splits", a=["person"], b=True)
    first = write_split(synthetic, "a2b", tmp_path, lists)["digest"]
    assert write_split(synthetic, "a2b", tmp_path, lists)["digest"] == first
    write_lists(lists, a=["person", "bicycle"])
    assert write_split(synthetic, "a2b", tmp_path, lists)["digest"] != first
    dataset = read_dataset(synthetic)
    write_json(tmp_path / "other.json", {**dataset, "digest": "f" * 32})
    write_lists(lists, a=["person"])
    assert write_split(tmp_path / "other.json", "a2b", tmp_path, lists)["digest"] != first


def test_categories_of_coco_that_the_data_lacks_are_a_warning(capsys, synthetic, tmp_path):
    write_split(synthetic, "nonvoc2voc", tmp_path)
    warning = capsys.readouterr().err
    assert "voc.yaml: 14 COCO categories are not in the data set: train, boat" in warning


def test_settings_are_read_at_the_one_place_that_fits(tmp_path):
    lists = write_lists(tmp_path / "s", a2b=["person"], c=True, a=["person"], b2d=True, d=True)
    assert parse_setting("a2b2c", lists) == ("a2b", "c")
    assert parse_setting("a2c", lists) == ("a", "c")
    with pytest.raises(ConfigError, match="can be read as a to b2d or a2b to d"):
        parse_setting("a2b2d", lists)
    for unknown in ("a2x", "voc", "2", "a-c"):
        with pytest.raises(ConfigError, match="holds a, a2b, b2d, c, d"):
            parse_setting(unknown, lists)


LISTS = {
    "overlap": ({"a": ["person", "truck"], "b": ["person", "bicycle", 10]}, ["in both a and b", "person (1)"]),
    "overlap with itself": ({"a": ["person"], "b": ["person"]}, ["in both", "in neither", "truck (8)"]),
    "missing": ({"a": ["person"], "b": ["bicycle", "truck"]}, ["in neither a nor b", "traffic light (10)", "add"]),
    "misspelt": ({"a": ["preson"], "b": True}, ["a.yaml", "'preson'", "did you mean 'person'"]),
    "unknown": ({"a": ["xyzzy"], "b": True}, ["a.yaml", "'xyzzy'", "annotation file"]),
    "unknown id": ({"a": [12], "b": True}, ["a.yaml", "no category 12"]),
    "twice": ({"a": ["person", 1], "b": True}, ["a.yaml", "'person' (1) more than once"]),
    "both remaining": ({"a": True, "b": True}, ["both a and b", "remaining"]),
    "none left": ({"a": ["dog"], "b": True}, ["none of the data set's categories is in a"]),
    "nothing remains": ({"a": [1, 2, 8, 10], "b": True}, ["is in b"]),
    "empty": ({"a": [], "b": True}, ["a.yaml", "categories", "non-empty"]),
    "not a name": ({"a": ["person", None], "b": True}, ["a.yaml", "None", "names or ids"]),
    "yes": ({"a": [False], "b": True}, ["a.yaml", "False", "quotes"]),
    "no masks": ({"a": "masks", "b": "boxes"}, ["no category has masks", "add some"]),
    "masks of others": ({"a": "masks", "b": [1, 2]}, ["no category has masks"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_wrong_lists_are_named(tmp_path, name):
    lists, words = LISTS[name]
    with pytest.raises((ConfigError, DataError)) as caught:
        resolve("a2b", CATEGORIES, write_lists(tmp_path / "splits", **lists))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ncategorys: [person]", ["categorys", "known keys: categories"]),
        ("name: b\ncategories: [person]", ["name must be 'a'"]),
        ("name: a\ncategories: [person]\nremaining: true", ["one of categories"]),
        ("name: a\nremaining: 3", ["one of categories"]),
        ("name: a\nremaining: 1", ["one of categories"]),
        ("name: a\ninferred: polygons", ["'polygons' is not one of ['masks', 'boxes']"]),
        ("name: a\ninferred: masks\ncategories: [person]", ["one of categories"]),
        ("name: a\ninferred: null", ["inferred", "None is not one of"]),
        ("name: [", ["YAML"]),
        ("person", ["must hold a mapping"]),
    ],
)
def test_malformed_files_are_named(tmp_path, text, words):
    lists = write_lists(tmp_path / "splits", b=True)
    (lists / "a.yaml").write_text(text)
    with pytest.raises((ConfigError, DataError)) as caught:
        resolve("a2b", CATEGORIES, lists)
    assert all(word in str(caught.value) for word in ["a.yaml", *words]), caught.value


def test_base_without_masks_is_refused_and_novel_is_not(synthetic, tmp_path):
    coco = train_of(synthetic)
    for annotation in coco["annotations"]:
        if annotation["category_id"] in (1, 8):
            annotation.pop("segmentation")
    write_lists(tmp_path / "splits", boxed=[1, 8], rest=True)
    dataset = describe(coco, tmp_path / "in")
    write_split(dataset, "rest2boxed", tmp_path / "out", tmp_path / "splits")
    count = sum(a["category_id"] == 8 for a in coco["annotations"])
    with pytest.raises(DataError, match=rf"{count} annotations of base category truck \(8\) have no segmentation"):
        write_split(dataset, "boxed2rest", tmp_path / "out", tmp_path / "splits")


def boxed(coco: dict, *categories: int, every: int = 1) -> dict:
    """A copy without the masks of these categories: of every one of their annotations, or of every second, third..."""
    coco = copy.deepcopy(coco)
    found = [annotation for annotation in coco["annotations"] if annotation["category_id"] in categories]
    for annotation in found[::every]:
        del annotation["segmentation"]
    return coco


def test_a_split_is_inferred_from_the_masks_and_printed(synthetic, tmp_path, capsys):
    coco = train_of(synthetic)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    novel = [coco["categories"][i]["id"] for i in (1, 4)]
    dataset = describe(boxed(coco, *novel), tmp_path / "in")
    split = write_split(dataset, "masks2boxes", tmp_path / "out")
    assert split["novel"] == novel and split["base"] == [i for i in names if i not in novel]
    printed = capsys.readouterr().out
    for number, name in names.items():
        count = sum(a["category_id"] == number and not a["iscrowd"] for a in coco["annotations"])
        assert f"{count} {'boxes' if number in novel else 'masks'}  {name} (id {number})" in printed
    assert printed.index("base, masks are learned: 10 categories") < printed.index("only boxes are used: 2 categories")
    after = json.loads((tmp_path / "out" / "instances_train.json").read_text())["annotations"]
    assert all(a["segmentation"] == rectangle(a["bbox"]) for a in after if a["category_id"] in novel)


def test_an_inferred_split_is_the_one_that_a_file_would_say(synthetic, tmp_path):
    dataset = describe(boxed(train_of(synthetic), 2, 8), tmp_path / "in")
    lists = write_lists(tmp_path / "lists", mine=[2, 8], rest=True, boxes="boxes", masks="masks")
    inferred = write_split(dataset, "masks2boxes", tmp_path / "a", lists)
    listed = write_split(dataset, "rest2mine", tmp_path / "b", lists)
    assert (inferred["base"], inferred["novel"]) == (listed["base"], listed["novel"])
    assert (tmp_path / "a/instances_train.json").read_bytes() == (tmp_path / "b/instances_train.json").read_bytes()
    assert inferred["digest"] != write_split(dataset, "masks2rest", tmp_path / "c", lists)["digest"]


def crowded(coco: dict, *categories: int) -> dict:
    """A copy in which all annotations of these categories are crowds."""
    coco = copy.deepcopy(coco)
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] in categories or annotation["iscrowd"])
    return coco


def test_a_category_whose_masks_are_all_crowds_is_told_with_the_way_out(synthetic, tmp_path):
    coco = crowded(boxed(train_of(synthetic), 2), 8)
    with pytest.raises(DataError, match=r"all masks are crowds .* of truck \(\d+\); .*`crowds: objects`"):
        write_split(describe(coco, tmp_path / "in"), "masks2boxes", tmp_path / "out")


def test_a_category_that_training_never_sees_is_marked(synthetic, tmp_path, capsys):
    coco = crowded(train_of(synthetic), 8)
    split = write_split(describe(coco, tmp_path / "in"), "nonvoc2voc", tmp_path / "out")
    assert split["untrained"] == [8] and "not in AP: truck (8)" in capsys.readouterr().err
    of_novel = write_split(describe(crowded(coco, 2, 8), tmp_path / "in"), "nonvoc2voc", tmp_path / "out")
    assert 2 in of_novel["novel"] and of_novel["untrained"] == [8, 2]
    for change in ({"bbox": [5, 5, 0.9, 9]}, {"bbox": [5, 5, 9, 0.9]}, {"area": 0}):  # nothing that mmdet would take
        thin = copy.deepcopy(coco)
        thin["annotations"] = [a | (change if a["category_id"] == 6 else {}) for a in thin["annotations"]]
        split = write_split(describe(thin, tmp_path / "in"), "nonvoc2voc", tmp_path / "out")
        assert set(split["untrained"]) == {6, 8}, change
    every = crowded(coco, *(c["id"] for c in coco["categories"]))
    with pytest.raises(DataError, match="no object of a base category can be learned from"):
        write_split(describe(every, tmp_path / "in"), "nonvoc2voc", tmp_path / "out")


def test_a_crowd_without_mask_has_its_box(synthetic, tmp_path):
    """mmdet's reader asks every annotation for a mask, also those to ignore."""
    coco = train_of(synthetic)
    crowd = next(a for a in coco["annotations"] if a["category_id"] == 8)
    del crowd["segmentation"]
    crowd["iscrowd"] = 1
    write_split(describe(coco, tmp_path / "in"), "nonvoc2voc", tmp_path / "out")
    after = json.loads((tmp_path / "out" / "instances_train.json").read_text())["annotations"]
    assert next(a for a in after if a["id"] == crowd["id"])["segmentation"] == rectangle(crowd["bbox"])


def test_a_category_with_some_masks_is_neither(synthetic, tmp_path):
    coco = train_of(synthetic)
    count = sum(annotation["category_id"] == 8 for annotation in coco["annotations"])
    dataset = describe(boxed(boxed(coco, 2), 8, every=2), tmp_path / "in")
    with pytest.raises(DataError) as caught:
        write_split(dataset, "masks2boxes", tmp_path / "out")
    message = str(caught.value)
    assert f"truck (8) has masks on {count // 2} of its {count} training annotations" in message
    assert "1 problem" in message and "split list" in message
    lists = write_lists(tmp_path / "lists", mine=[2, 8], rest=True)
    assert write_split(dataset, "rest2mine", tmp_path / "out", lists)["novel"] == [2, 8]


def test_without_boxes_alone_nothing_is_novel(synthetic, tmp_path):
    coco = train_of(synthetic)
    with pytest.raises(DataError, match=r"every category .* has masks"):
        write_split(describe(coco, tmp_path / "in"), "masks2boxes", tmp_path / "out")
    coco["categories"].append({"id": 77, "name": "never seen"})
    with pytest.raises(DataError, match=r"every category .* has masks"):
        write_split(describe(coco, tmp_path / "in"), "masks2boxes", tmp_path / "out")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    masks=st.lists(st.integers(0, 3), min_size=2, max_size=30),
    names=st.lists(st.text(min_size=1), min_size=30, max_size=30, unique=True),
)
def test_any_number_of_categories_with_any_names(tmp_path, masks, names):
    """Category i has i + 1 annotations, all with masks or none; ids have gaps and start at 0."""
    categories = [{"id": 7 * i, "name": name} for i, (_, name) in enumerate(zip(masks, names, strict=False))]
    place = {"image_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    annotations = [
        place | {"id": 100 * i + k, "category_id": 7 * i} | ({"segmentation": rectangle([1, 1, 4, 4])} if has else {})
        for i, has in enumerate(masks)
        for k in range(i + 1)
    ]
    image = {"id": 1, "file_name": "1.jpg", "width": 9, "height": 9}
    dataset = describe({"images": [image], "annotations": annotations, "categories": categories}, tmp_path / "in")
    expected = [[7 * i for i, has in enumerate(masks) if bool(has) == side] for side in (True, False)]
    if not all(expected):
        with pytest.raises(DataError, match=r"every category|no category"):
            write_split(dataset, "masks2boxes", tmp_path / "out")
        return
    split = write_split(dataset, "masks2boxes", tmp_path / "out")
    assert [split["base"], split["novel"]] == expected


def test_annotations_that_changed_since_verification_are_refused(synthetic, tmp_path):
    dataset = describe(train_of(synthetic), tmp_path / "in")
    (tmp_path / "in" / "instances.json").write_text("{}")
    with pytest.raises(DataError, match="changed since"):
        write_split(dataset, "nonvoc2voc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_show_prints_and_writes_nothing(synthetic, tmp_path, capsys):
    lists = write_lists(tmp_path / "lists", mine=["truck"], rest=True)
    before = sorted(tmp_path.rglob("*"))
    show_split(synthetic, "rest2mine", lists)
    printed = capsys.readouterr().out
    count = sum(annotation["category_id"] == 8 for annotation in train_of(synthetic)["annotations"])
    assert f"{count} boxes  truck (id 8), {count} with a mask that is not used" in printed
    assert sorted(tmp_path.rglob("*")) == before


def test_coco_mini(shared_dir, tmp_path):
    prepare({"kind": "coco"}, shared_dir / "coco-mini", tmp_path / "dataset.json")
    split = write_split(tmp_path / "dataset.json", "nonvoc2voc", tmp_path)
    assert (len(split["base"]), len(split["novel"])) == (60, 20)
    assert split["n_base_masks"] + split["n_novel_boxes"] == 2945  # and 29 crowds
    assert split["untrained"] == []
    after = json.loads((tmp_path / "instances_train.json").read_text())
    novel = [a for a in after["annotations"] if a["category_id"] in split["novel"]]
    assert novel and all(a["segmentation"] == rectangle(a["bbox"]) for a in novel)
