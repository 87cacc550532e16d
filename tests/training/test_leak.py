"""Novel masks cannot reach training: scrambled before the split, they change no loss and no weight of any system."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contrastmask.config.options import METHODS, SystemOptions
from contrastmask.data.dataset import prepare
from contrastmask.data.shape_priors import read_priors, write_priors
from contrastmask.data.splits import write_split
from tests.golden.golden import first_steps, smoke_data, smoke_systems

Data = tuple[dict[str, Any], dict[str, Any], Path]
ONE_OF_EACH = {system.spec.method: system for system in reversed(smoke_systems())}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return smoke_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def scrambled(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Data]:
    """`scrambled(part)`: the same data, the masks of its base or novel categories replaced before it was split."""

    def make(part: str) -> Data:
        folder = tmp_path_factory.mktemp(part)
        shutil.copytree(Path(data[0]["train"]["images"]).parent, folder / "images")
        file = folder / "images" / "annotations" / "instances_train.json"
        content = json.loads(file.read_text())
        chosen = [a for a in content["annotations"] if a["category_id"] in data[1][part] and not a["iscrowd"]]
        assert len(chosen) > 20
        for annotation in chosen:
            x, y, w, h = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + w / 3, y, x, y + h / 3]]
        file.write_text(json.dumps(content))
        dataset = prepare({"kind": "folder"}, folder / "images", folder / "dataset.json")
        split = write_split(folder / "dataset.json", "nonvoc2voc", folder / "nonvoc2voc")
        return dataset, split, folder / "nonvoc2voc" / "instances_train.json"

    return make


@pytest.fixture(scope="module")
def without_novel_masks(scrambled: Callable[[str], Data]) -> Data:
    return scrambled("novel")


def priors(data: Data) -> Path:
    """ShapeMask's, of these annotations."""
    file = data[2].with_name("priors.npz")
    write_priors(data[2], data[2].with_name("split.json"), 100, 1024, file)
    return file


def test_every_system_is_tried() -> None:
    assert set(ONE_OF_EACH) == {name for name, options in METHODS.items() if issubclass(options, SystemOptions)}


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_scrambled_novel_masks_change_nothing(method: str, data: Data, without_novel_masks: Data) -> None:
    config, shapes = ONE_OF_EACH[method].config, {}
    if method == "shapemask":
        shapes = {id(each): priors(each) for each in (data, without_novel_masks)}
        assert np.array_equal(*map(read_priors, shapes.values()))
    (ours, weights), (theirs, others) = (
        first_steps(config, each, shapes.get(id(each))) for each in (data, without_novel_masks)
    )
    assert ours == theirs
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_scrambled_base_masks_are_noticed(data: Data, scrambled: Callable[[str], Data]) -> None:
    config = ONE_OF_EACH["contrastmask"].config
    assert first_steps(config, data)[0] != first_steps(config, scrambled("base"))[0]
