"""A data set of one's own, some of whose categories have boxes only, goes through the whole chain."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from end_to_end.chain import ROOT, fresh_project, snakemake

from contrastmask.data.synthetic import generate

NAMES = ["Förderband", "箱 (groß)", "yes", "2", "pallet & <crate>"]
BOXED = {"yes", "2"}
LAYOUT = {
    "train_images_dir": "train",
    "train_annotations": "train/_annotations.coco.json",
    "val_images_dir": "val",
    "val_annotations": "val/_annotations.coco.json",
}
CATEGORY_IDS = [31, 24, 0, 10, 3]
TABLE = {
    "title": "My categories",
    "caption": "Baseline and ContrastMask.",
    "base": {"backbone": "r50", "schedule": "1x", "setting": "masks2boxes", "mask_layers": 4},
    "rows": [{"method": "mask-rcnn"}, {"method": "contrastmask"}],
}
pytestmark = pytest.mark.slow


def own_data(root: Path) -> Path:
    """Synthetic images with other names, ids and layout; novel annotations have no segmentation, in train and val."""
    generate(root, train_images=16, val_images=12, image_size=96, seed=0, categories=len(NAMES))
    (root / "generated.json").unlink()
    for part in ("train", "val"):
        content = json.loads((root / "annotations" / f"instances_{part}.json").read_text())
        new_id = dict(zip((c["id"] for c in content["categories"]), CATEGORY_IDS, strict=True))
        content["categories"] = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, NAMES, strict=True)]
        boxed = {c["id"] for c in content["categories"] if c["name"] in BOXED}
        for annotation in content["annotations"]:
            annotation["category_id"] = new_id[annotation["category_id"]]
            if annotation["category_id"] in boxed:
                del annotation["segmentation"]
        (root / LAYOUT[f"{part}_annotations"]).write_text(json.dumps(content))
    shutil.rmtree(root / "annotations")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_data(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Path]:
    """One table of two rows, made from the data by one command."""
    folder = fresh_project(tmp_path_factory.mktemp("own"))
    smoke = yaml.safe_load((ROOT / "configs" / "scales" / "smoke.yaml").read_text())
    own = {"name": "own", "dataset": {"kind": "folder", **LAYOUT}, "one_x": {"iterations": 4}, "checkpoint_every": 2}
    (folder / "configs" / "scales" / "own.yaml").write_text(yaml.safe_dump(smoke | own))
    (folder / "configs" / "tables" / "own.yaml").write_text(yaml.safe_dump(TABLE))
    done = snakemake(folder, *arguments(data))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    (folder / "output.txt").write_text(done.stdout)
    yield folder


def arguments(data: Path) -> list[str]:
    return ["own", "--config", "scale=own", f"data_root={data}", "tables=[own]"]


def test_the_inferred_split_is_printed_and_recorded(project: Path, data: Path) -> None:
    split = json.loads((project / "results/own/data/masks2boxes/split.json").read_text())
    assert split["base"] == [31, 24, 3] and split["novel"] == [0, 10]
    annotations = json.loads((data / LAYOUT["train_annotations"]).read_text())["annotations"]
    for shown in (
        (project / "output.txt").read_text(),
        (project / "results/own/logs/split_masks2boxes.log").read_text(),
    ):
        for number, name in zip(CATEGORY_IDS, NAMES, strict=True):
            count = sum(a["category_id"] == number and not a["iscrowd"] for a in annotations)
            assert f"{count} {'boxes' if name in BOXED else 'masks'}  {name} (id {number})" in shown
    assert "2 categories have no masks in _annotations.coco.json" in (project / "output.txt").read_text()


def test_what_can_be_measured_is_measured_and_the_rest_is_null(project: Path) -> None:
    files = list(project.glob("results/own/runs/*/seed0/metrics.json"))
    assert len(files) == 2
    for file in files:
        metrics = json.loads(file.read_text())
        assert set(metrics["segm"]["novel"].values()) == {None} and metrics["gt_box_miou"]["novel"] is None
        assert metrics["segm"]["base"]["AP"] is not None and metrics["bbox"]["novel"]["AP"] is not None
        assert metrics["gt_box_miou"]["all"] == metrics["gt_box_miou"]["base"] > 0
        for category in metrics["per_category"]:
            assert (category["segm_AP"] is None) == (category["gt_box_miou"] is None) == (category["name"] in BOXED)


def test_table_and_mlflow_say_nothing_that_was_not_measured(project: Path) -> None:
    from mlflow import MlflowClient

    table = pd.read_csv(project / "results/own/tables/own.csv")
    assert table["status"].str.fullmatch(r"no novel masks in val \(novel box AP .*, base mask AP .*\)").all()
    assert len(table) == 2 and table["AP"].isna().all()
    output = (project / "output.txt").read_text()
    assert (project / "results/own/tables/own.md").read_text() in output
    assert "contrastmask predict PHOTOS --scale own --run" in output and "'tables=[own]'" in output
    client = MlflowClient(f"sqlite:///{project / 'results' / 'mlflow.db'}")
    every = client.search_runs([client.get_experiment_by_name("contrastmask/own").experiment_id])
    runs = [run for run in every if run.data.params]  # the others are of tables
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    for run in runs:
        assert "segm/base/AP" in run.data.metrics and "bbox/novel/AP" in run.data.metrics
        assert not [key for key in run.data.metrics if key.startswith(("segm/novel", "gt_box_miou/novel"))]


def test_the_model_finds_objects_in_new_images(project: Path, data: Path, tmp_path: Path) -> None:
    run = next((project / "results/own/runs").glob("contrastmask*")).name
    order = ["predict", str(data / "val"), "--run", run, "--scale", "own", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "contrastmask", *order, "--score-threshold", "0"],
                          cwd=project, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # 1: the folder also holds the annotation file
    found = json.loads((tmp_path / "results.json").read_text())
    assert found and {entry["category_id"] for entry in found} <= set(CATEGORY_IDS)


def test_edited_annotations_are_seen_by_the_next_command(project: Path, data: Path) -> None:
    """A category with masks on some annotations only: refused with the counts before anything trains."""
    again = snakemake(project, "-n", *arguments(data))
    assert "Nothing to be done" in again.stdout + again.stderr
    path = data / LAYOUT["train_annotations"]
    content = json.loads(path.read_text())
    mine = [a for a in content["annotations"] if a["category_id"] == 24 and not a["iscrowd"]]
    del mine[0]["segmentation"]
    path.write_text(json.dumps(content))
    done = snakemake(project, *arguments(data))
    assert done.returncode != 0
    assert f"箱 (groß) (24) has masks on {len(mine) - 1} of its {len(mine)} training annotations" in done.stdout
