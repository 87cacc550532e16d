"""The file with every mask, for upper bounds."""

import json
from pathlib import Path

import pytest

from contrastmask.data.dataset import prepare, read_dataset
from contrastmask.data.splits import write_all_masks
from contrastmask.errors import DataError

CONFIG = {"kind": "synthetic", "train_images": 12, "val_images": 2, "image_size": 64, "seed": 3, "categories": 12}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    prepare(CONFIG, tmp_path / "data", tmp_path / "dataset.json")
    return tmp_path / "dataset.json"


def annotations(path: Path) -> list[dict]:
    return json.loads(path.read_text())["annotations"]


def train_file(dataset: Path) -> Path:
    return Path(read_dataset(dataset)["train"]["annotations"])


def test_every_annotation_is_kept_as_it_is(dataset: Path, tmp_path: Path) -> None:
    write_all_masks(dataset, "nonvoc2voc", tmp_path / "all.json")
    assert annotations(tmp_path / "all.json") == annotations(train_file(dataset))


def test_novel_annotations_without_mask_are_refused(dataset: Path, tmp_path: Path) -> None:
    """Then there is no upper bound to measure."""
    path = train_file(dataset)
    content = json.loads(path.read_text())
    novel = next(a for a in content["annotations"] if a["category_id"] <= 7)  # of voc
    novel["segmentation"] = []
    path.write_text(json.dumps(content))
    described = json.loads(dataset.read_text())
    import hashlib

    described["train"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    dataset.write_text(json.dumps(described))
    with pytest.raises(DataError, match=f"\\({novel['category_id']}\\).*novel_masks"):
        write_all_masks(dataset, "nonvoc2voc", tmp_path / "all.json")
    assert not (tmp_path / "all.json").exists()
