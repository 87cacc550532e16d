"""config.json: everything that was decided about a run, written beside it."""

import json
import shutil
from pathlib import Path

import pytest

from contrastmask.config import all_runs, config_hash, load_tables, resolve, runfile, settings_with
from contrastmask.errors import ConfigError

MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"


def written(results: Path, run: str = MAIN, **changes: object) -> Path:
    """The folder of a run, in which config.json was written."""
    of = settings_with({"results": str(results)} | changes)
    tables = load_tables(of)
    runfile.write(of.run_folder(run, 0), runfile.describe(all_runs(tables)[run], 0, of, ["table1: Ours"]))
    return of.run_folder(run, 0)


@pytest.mark.parametrize("scale", ["smoke", "coco-mini", "paper"])
def test_what_is_written_of_every_run_is_read_again(tmp_path: Path, scale: str) -> None:
    data_root = None if scale == "smoke" else "/data"
    of = settings_with({"results": str(tmp_path), "scale": scale, "data_root": data_root, "gpus_per_run": 1})
    tables = load_tables(of)
    rows = runfile.rows_of(tables.values())
    for run in all_runs(tables).values():
        content = runfile.describe(run, 3, of, rows[run.id])
        runfile.write(tmp_path, content)
        assert runfile.read(tmp_path) == json.loads(json.dumps(content))
        assert content["config_hash"] == config_hash(resolve(run, of)) and content["table_rows"]


def test_its_paths_lead_from_the_folder_to_the_files(tmp_path: Path) -> None:
    of = settings_with({"results": str(tmp_path / "r"), "scale": "coco-mini", "data_root": "/data"})
    folder = written(tmp_path / "r", scale="coco-mini", data_root="/data")
    files = runfile.read(folder)["files"]
    assert (folder / files["dataset"]).resolve() == of.dataset.resolve()
    assert (folder / files["weights"]).resolve() == of.backbone_weights("lite0").resolve()
    assert (folder / files["results"]).resolve() == (tmp_path / "r").resolve()
    assert not any(value.startswith("/") for value in files.values() if value)
    assert (files["priors"], files["detector"]) == (None, None)
    for run, name, end in (
        ("shapemask_r101_1x_nonvoc2voc", "priors", "shape_priors-K100-a1024.npz"),
        ("mask-grabcut_r50_1x_nonvoc2voc", "detector", "mask-rcnn_r50_1x_nonvoc2voc/seed0"),
        (MAIN, "annotations", "nonvoc2voc/instances_train.json"),
        (f"{MAIN}_novel_masks-all", "annotations", "instances_train_all_masks.json"),
        (f"{MAIN}_novel_masks-keys", "annotations", "instances_train_all_masks.json"),
    ):
        assert runfile.read(written(tmp_path / "r", run))["files"][name].endswith(end)


def test_a_file_that_says_the_same_is_left_alone_and_any_other_written_anew(tmp_path: Path) -> None:
    paper = {"scale": "paper", "data_root": "/data", "gpus_per_run": 8}
    file = written(tmp_path, **paper) / "config.json"
    before = file.stat().st_ino
    written(tmp_path, **paper)
    assert file.stat().st_ino == before
    written(tmp_path, **paper | {"gpus_per_run": 2})
    assert runfile.read(file.parent)["gpus_per_run"] == 2
    file.write_text("{")
    written(tmp_path, **paper)
    runfile.read(file.parent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": {"method": "mine"}}, ["`config` was edited", "Add an ablation", f"configure {MAIN}"]),
        ({"threads": 0}, ["threads", "config.json"]),
        ({"thread": 1}, ["thread", "known keys"]),
        ({"files": {}}, ["files", "dataset"]),
        ({"gpus_per_run": 3}, ["gpus_per_run=3", f"configure {MAIN}"]),  # a third of a batch is stepped on by itself
        ({"images_per_gpu": 1}, ["images_per_gpu=1", "query groups of 2"]),
    ],
)
def test_what_was_edited_wrongly_is_named(tmp_path: Path, change: dict, words: list[str]) -> None:
    folder = written(tmp_path)
    (folder / "config.json").write_text(json.dumps(runfile.read(folder) | change))
    with pytest.raises(ConfigError) as caught:
        runfile.read(folder)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": NaN}', "\ufeff{}", "[" * 100_000, ""])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json") as caught:
        runfile.read(tmp_path)
    assert "fetch" not in str(caught.value)  # as what a person has from elsewhere


def test_where_there_is_none_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contrastmask configure RUN"):
        runfile.read(tmp_path)


def test_a_moved_folder_leads_to_the_moved_data(tmp_path: Path) -> None:
    folder = written(tmp_path / "a")
    data = tmp_path / "a" / "smoke" / "data" / "dataset.json"
    data.parent.mkdir(parents=True)
    data.write_text("{}")
    shutil.move(tmp_path / "a", tmp_path / "b c")
    moved = tmp_path / "b c" / folder.relative_to(tmp_path / "a")
    assert (moved / runfile.read(moved)["files"]["dataset"]).exists()
