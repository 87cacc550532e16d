"""One file becomes two: nothing lost, nothing twice, every category in both where that can be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.data.split_data import choose, split_data
from contrastmask.errors import DataError

NAMES = st.text("abc", min_size=1, max_size=4)
HELD = st.dictionaries(NAMES, st.frozensets(st.integers(0, 5)), min_size=2, max_size=25)


@given(held=HELD, share=st.floats(0.01, 0.9), seed=st.integers(0, 9))
def test_training_keeps_every_category_and_val_gets_what_it_can(held, share, seed):
    val = choose(held, dict.fromkeys(held, 1), share, seed)
    train = set(held) - val
    assert val and train and val == choose(dict(sorted(held.items())), dict.fromkeys(held, 1), share, seed)

    def of(groups) -> set:
        return set().union(*(held[group] for group in groups))

    spare = [g for g in train if held[g] and all(sum(c in held[t] for t in train) > 1 for c in held[g])]
    if of(train) | of(val) == of(train):  # nothing of val is missing in training
        assert not [g for g in spare if held[g] - of(val)], "a group could still have given val a category"
    else:
        assert len(val) == 1 and all(any(sum(c in held[g] for g in held) == 1 for c in held[h]) for h in held)


@given(seed=st.integers(0, 99))
def test_about_the_share_that_was_asked_for(seed):
    held = {str(i): {i % 3} for i in range(100)}
    assert len(choose(held, dict.fromkeys(held, 1), 0.2, seed)) == 20
    sizes = {group: 1 + int(group) % 5 for group in held}  # 300 images; small groups fill what is left
    assert sum(sizes[group] for group in choose(held, sizes, 0.2, seed)) == 60


def test_another_seed_chooses_others():
    held = {str(i): {i % 3} for i in range(100)}
    chosen = {tuple(sorted(choose(held, dict.fromkeys(held, 1), 0.2, seed))) for seed in range(5)}
    assert len(chosen) == 5


def frames(videos: int, each: int) -> dict:
    images = [
        {"id": f"{v}-{k}", "file_name": f"cam_{v}_{k:03d}.jpg", "width": 9, "height": 9}
        for v in range(videos)
        for k in range(each)
    ]
    annotations = [
        {"id": n, "image_id": image["id"], "category_id": 10**20 + n % 2, "bbox": [1, 1, 5, 5]}
        for n, image in enumerate(images)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 10**20 + i, "name": name} for i, name in enumerate("ab")],
        "info": {},
    }


@pytest.mark.parametrize("group", [None, "_"])
def test_two_files_hold_all_of_one(tmp_path, group):
    path = tmp_path / "all.json"
    coco = frames(5, 4)
    path.write_text(json.dumps(coco), encoding="utf-16")
    done = split_data(path, 0.2, 0, tmp_path, group)
    parts = [json.loads((tmp_path / f"all-{part}.json").read_text()) for part in ("train", "val")]
    for key in ("images", "annotations"):
        assert sorted(parts[0][key] + parts[1][key], key=str) == sorted(coco[key], key=str)
    assert all(part["categories"] == coco["categories"] for part in parts)
    assert (len(parts[0]["images"]), len(parts[1]["images"])) == (done["train"], done["val"]) == (16, 4)
    if group:
        assert len({image["file_name"][:5] for image in parts[1]["images"]}) == 1
    with pytest.raises(DataError, match="exists"):
        split_data(path, 0.2, 0, tmp_path, group)


def test_a_file_of_another_format_is_told(tmp_path):
    (tmp_path / "via.json").write_text('{"_via_settings": {}}')
    with pytest.raises(DataError, match="missing or not a list; it has '_via_settings'"):
        split_data(tmp_path / "via.json", 0.2, 0, tmp_path)


def test_an_annotation_that_is_of_no_image_is_not_lost_without_a_word(tmp_path):
    coco = frames(2, 2)
    coco["annotations"][0]["image_id"] = "elsewhere"
    (tmp_path / "all.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match="annotation 0: image_id 'elsewhere' is not in"):
        split_data(tmp_path / "all.json", 0.2, 0, tmp_path)


def test_what_init_reads_can_be_split(tmp_path):
    """Sizes that are missing, references as texts."""
    coco = frames(2, 2)
    for image, annotation in zip(coco["images"], coco["annotations"], strict=True):
        del image["width"]
        annotation["category_id"] = str(annotation["category_id"])
    (tmp_path / "all.json").write_text(json.dumps(coco))
    done = split_data(tmp_path / "all.json", 0.25, 0, tmp_path)
    assert done["train"] + done["val"] == 4 and not done["lacking"]


def test_a_group_that_is_in_no_name_is_refused(tmp_path):
    (tmp_path / "all.json").write_text(json.dumps(frames(2, 2)))
    with pytest.raises(DataError, match="no file name holds '-', so --group keeps nothing together"):
        split_data(tmp_path / "all.json", 0.2, 0, tmp_path, "-")
