"""From a folder to what trains on it: `split-data`, `init` and `look`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from contrastmask import paths
from contrastmask.cli import main
from contrastmask.config.yamlfiles import check
from contrastmask.data.synthetic import generate


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One annotation file over all images, as annotation tools export; the first two categories have boxes only."""
    root = tmp_path / "My Photos"
    generate(root, train_images=24, val_images=1, image_size=64, seed=0, categories=6)
    coco = json.loads((root / "annotations" / "instances_train.json").read_text())
    boxed = {category["id"] for category in coco["categories"][:2]}
    for annotation in coco["annotations"]:
        if annotation["category_id"] in boxed:
            annotation["segmentation"] = []
    shutil.rmtree(root / "annotations")
    shutil.rmtree(root / "val")
    (root / "result.json").write_text(json.dumps(coco))
    return root


def test_from_a_folder_to_a_scale_a_table_and_a_picture(
    folder: Path, configs: Path, tmp_path: Path, monkeypatch
) -> None:
    refused = run("init", folder)
    assert refused.exit_code == 2 and f"contrastmask split-data '{folder / 'result.json'}'" in refused.output
    done = run("split-data", folder / "result.json", "--val", "0.25")
    assert done.exit_code == 0 and "result-train.json: 18 images" in done.output
    done = run("init", folder, "--recipe", "coco-mini")
    assert done.exit_code == 0, done.output
    assert "base, masks are learned: 4 categories" in done.output and "train: 18 images" in done.output
    scale = yaml.safe_load((configs / "scales" / "my-photos.yaml").read_text())
    check(scale, "scale", "my-photos.yaml")
    check(yaml.safe_load((configs / "tables" / "my-photos.yaml").read_text()), "table", "my-photos.yaml")
    assert scale["one_x"] == {"iterations": 450}  # 100 passes over 18 images in batches of 4
    assert scale["dataset"]["train_images_dir"] == "train" and not scale["comparable"]
    assert "exists: give another --name" in run("init", folder).output
    assert "a rule of the workflow is named 'dataset'" in run("init", folder, "--name", "dataset").output

    asked = ("--scale", "my-photos", "--results", tmp_path / "results", "--images", 5)
    done = run("look", *asked, "--out", tmp_path / "a" / "look.png")
    assert done.exit_code == 0, done.output
    refused = run("look", *asked, "--out", tmp_path / "look")
    assert refused.exit_code == 2 and "let it end in .png" in refused.output
    assert Image.open(tmp_path / "a" / "look.png").size == (4 * (448 + 8), 2 * (480 + 8))
    file = folder / "result-train.json"
    coco = json.loads(file.read_text())
    three = list(dict.fromkeys(a["image_id"] for a in coco["annotations"]))[:3]
    file.write_text(json.dumps(coco | {"annotations": [a for a in coco["annotations"] if a["image_id"] in three]}))
    done = run("look", *asked, "--out", tmp_path / "look.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "look.png").size == (3 * (448 + 8), 480 + 8)  # what training would see now

    described = tmp_path / "results" / "my-photos" / "data" / "dataset.json"
    before = json.loads(described.read_text())
    scale["dataset"]["boxes_only"] = [before["categories"][-1]["name"]]
    (configs / "scales" / "my-photos.yaml").write_text(yaml.safe_dump(scale))
    for _ in range(2):  # prepared anew once
        assert run("look", *asked, "--out", tmp_path / "look.png").exit_code == 0
        after, made = json.loads(described.read_text()), described.stat().st_mtime_ns
    assert after["digest"] != before["digest"] and described.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Photos!", "my-photos"), ("2024", "mine-2024"), ("2024-05-01", "mine-2024-05-01"), ("1e3", "mine-1e3"),
     ("Null", "mine-null"), ("写真", "mine")],
)  # fmt: skip
def test_a_name_is_one_that_can_be_asked_for(folder: str, name: str) -> None:
    from contrastmask.config.own_data import name_for

    assert name_for(Path("/data") / folder, None) == name_for(Path(), name) == name


@pytest.mark.parametrize("name", ["Mine", "a_b", "mine.yaml", "2024", "yes", "nan"])
def test_a_name_that_nothing_takes_later_is_refused(name: str, folder: Path) -> None:
    refused = run("init", folder, "--name", name)
    assert refused.exit_code == 2 and f"--name {name}: give lower-case letters" in refused.output


LENGTHS = {
    "few": ("coco-mini", 4, 100, 10),
    "some": ("coco-mini", 343, 3000, 50),
    "many": ("coco-mini", 5000, 15_000, 50),
    "few on a GPU": ("paper", 100, 625, 62),
    "many on a GPU": ("paper", 10_000, 7500, 500),
}


@pytest.mark.parametrize("case", LENGTHS)
def test_length_and_warm_up_suit_the_number_of_images(case: str) -> None:
    from contrastmask.config.own_data import scale

    recipe, images, iterations, warmup = LENGTHS[case]
    written = yaml.safe_load(scale("mine", recipe, {"kind": "folder"}, images))
    check(written, "scale", "mine.yaml")
    assert written["one_x"] == {"iterations": iterations} and written["checkpoint_every"] <= 500
    assert written["config"]["warmup_iterations"] == warmup


def test_what_is_wrong_with_the_data_is_said_and_nothing_written(folder: Path, configs: Path) -> None:
    run("split-data", folder / "result.json")
    next((folder / "train").glob("*.jpg")).unlink()
    done = run("init", folder)
    assert done.exit_code == 2 and "1 image files missing" in done.output
    assert not (configs / "scales" / "my-photos.yaml").exists()


def test_masks_that_are_all_crowds_are_taken_for_objects_if_asked(folder: Path, configs: Path) -> None:
    coco = json.loads((folder / "result.json").read_text())
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = 1
    (folder / "result.json").write_text(json.dumps(coco))
    run("split-data", folder / "result.json")
    refused = run("init", folder)
    assert refused.exit_code == 2 and refused.output.count("`contrastmask init FOLDER --crowds objects`") == 1
    done = run("init", folder, "--crowds", "objects")
    assert done.exit_code == 0 and "base, masks are learned: 4 categories" in done.output
    assert yaml.safe_load((configs / "scales" / "my-photos.yaml").read_text())["dataset"]["crowds"] == "objects"


def test_categories_are_boxes_only_and_files_are_named_if_said(folder: Path, configs: Path) -> None:
    coco = json.loads((folder / "result.json").read_text())
    boxed, name = coco["categories"][2]["id"], coco["categories"][2]["name"]
    first = next(a for a in coco["annotations"] if a["category_id"] == boxed)
    first["segmentation"] = []
    (folder / "result.json").write_text(json.dumps(coco))
    run("split-data", folder / "result.json")
    assert f"--boxes-only {name}" in run("init", folder).output
    files = ("--train", folder / "result-train.json", "--val", folder / "result-val.json")
    done = run("init", folder, "--boxes-only", name, *files)
    assert done.exit_code == 0 and "base, masks are learned: 3 categories" in done.output, done.output
    assert yaml.safe_load((configs / "scales" / "my-photos.yaml").read_text())["dataset"]["boxes_only"] == [name]
    assert "give both --train and --val" in run("init", folder, *files[:2], "--name", "other").output


def test_files_are_utf8_and_output_lives_where_the_locale_knows_ascii_alone(folder: Path) -> None:
    coco = json.loads((folder / "result.json").read_text())
    coco["categories"][0]["name"] = "Kübel"
    (folder / "kübel.json").write_text(json.dumps(coco, ensure_ascii=False), encoding="utf-8")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "contrastmask", "split-data", str(folder / "kübel.json")]
    done = subprocess.run(command, env=os.environ | ascii_alone, capture_output=True, check=False, cwd=paths.ROOT)
    assert done.returncode == 0, done.stderr
    written = json.loads((folder / "kübel-train.json").read_text(encoding="utf-8"))
    assert written["categories"][0]["name"] == "Kübel" and b"-train.json: " in done.stdout
