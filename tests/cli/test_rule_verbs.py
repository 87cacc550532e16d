"""The verbs that the rules call: what each does, and that a mistake is one message, as everywhere."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from contrastmask.cli import STEPS, VERBS, main

PRIORS = ("--priors=2", "--min-area=1")
SYNTHETIC = {"kind": "synthetic", "train_images": 12, "val_images": 2, "image_size": 64, "seed": 3, "categories": 12}


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="contrastmask")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def ok(*arguments: object) -> str:
    code, text = run(*arguments)
    assert code == 0, text
    return text


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with dataset.json and a split."""
    folder = tmp_path_factory.mktemp("it's a $(touch x) folder")
    ok("prepare", folder / "images", "--data", json.dumps(SYNTHETIC), "--out", folder / "dataset.json")
    ok("split", "nonvoc2voc", "--dataset", folder / "dataset.json", "--out", folder / "nonvoc2voc")
    return folder


def test_every_verb_and_step_is_there() -> None:
    assert not set(VERBS) & set(STEPS)
    assert {"prepare", "split", "shape-priors", "weights", "prior"} <= set(STEPS)


def test_data_is_prepared_and_split(data: Path, tmp_path: Path) -> None:
    made = {path.name for path in (data / "nonvoc2voc").iterdir()}
    assert made == {"instances_train.json", "split.json"}
    shown = ok("split", "nonvoc2voc", "--dataset", data / "dataset.json", "--show")
    assert "novel, only boxes are used" in shown
    assert {path.name for path in (data / "nonvoc2voc").iterdir()} == made
    ok("split", "nonvoc2voc", "--dataset", data / "dataset.json", "--all-masks", "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["instances_train_all_masks.json"]
    split = [f"--{name}={data / 'nonvoc2voc' / file}" for name, file in
             (("annotations", "instances_train.json"), ("split", "split.json"))]  # fmt: skip
    ok("shape-priors", *split, *PRIORS, "--out", tmp_path / "priors.npz")
    assert (tmp_path / "priors.json").exists()


def test_mistakes_are_one_message(data: Path, tmp_path: Path) -> None:
    described, out = data / "dataset.json", tmp_path / "out"
    bad = tmp_path / "latin.json"
    bad.write_bytes('{"base": "é"}'.encode("latin-1"))
    for said, *arguments in (
        ("not JSON", "prepare", data, "--data", "{", "--out", out),
        ("JSON object", "prepare", data, "--data", "[]", "--out", out),
        ("kind must be one of", "prepare", data, "--data", '{"kind": "voc"}', "--out", out),
        ("x2voc", "split", "x2voc", "--dataset", described, "--out", out),
        ("none.json", "split", "nonvoc2voc", "--dataset", tmp_path / "none.json", "--out", out),
        ("--show", "split", "nonvoc2voc", "--dataset", described),
        ("latin.json", "split", "nonvoc2voc", "--dataset", bad, "--out", out),
        ("latin.json", "shape-priors", f"--annotations={bad}", f"--split={bad}", *PRIORS, "--out", out),
        ("unknown name", "weights", "r50", "--source", "torchvision://nothing", "--out", out),
        ("cannot be read as weights", "weights", "r50", "--source", bad, "--out", out),
        ("unknown backbone 'r51'", "weights", "r51", "--source", bad, "--out", out),
        ("no evaluated run", "evidence", "--scale", "none", "--results", tmp_path, "--out", out),
        ("no folder", "sync", "--results", tmp_path / "none"),
        ("files in that folder", "tables", "table99", "--results", out),
        ("files in that folder", "tables", "table4", "--scale", "smok", "--results", out),
        ("whole numbers", "tables", "table4", "--seeds", "0,x", "--results", out),
        ("paper", "tables", "table4", "--preset", "other", "--results", out),
        ("TABLE", "tables", "--results", out),
    ):
        code, text = run(*arguments)
        assert code == 2 and said in text, (arguments, text)
        assert not out.exists()


def test_tables_prints_the_paths_that_it_wrote_or_the_table(tmp_path: Path) -> None:
    paths = ok("tables", "table4", "table7", "--results", tmp_path, "--seeds", "0,1").splitlines()
    assert len(paths) == 8 and all(Path(path).exists() for path in paths)
    assert {Path(path).parent for path in paths} == {tmp_path / "smoke" / "tables"}
    shown = ok("tables", "table4", "--results", tmp_path, "--print", "--folder", "partial")
    assert shown.startswith("# Table 4.") and (tmp_path / "smoke" / "partial" / "table4.csv").exists()


@pytest.mark.parametrize("verb", [("tables", "table4"), ("claims",), ("compare", "a", "b"), ("configure",)])
def test_a_copied_scale_that_kept_its_name_is_not_the_other_one(configs: Path, verb: tuple[str, ...]) -> None:
    shutil.copy(configs / "scales" / "smoke.yaml", configs / "scales" / "mine.yaml")
    scale = ("--config", "scale=mine") if verb == ("configure",) else ("--scale", "mine")
    code, text = run(*verb, *scale)
    assert code == 2 and "mine.yaml is named 'smoke'; set its name" in text
