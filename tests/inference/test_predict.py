"""`contrastmask predict` and `contrastmask export`, as a person calls them, with a tiny detector."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from inference.made import RUN, picture
from PIL import Image
from pycocotools.coco import COCO

from contrastmask.cli import main
from contrastmask.evaluation.evaluate import predict_image
from contrastmask.inference.inputs import SUFFIXES
from contrastmask.inference.predict import predict
from contrastmask.inference.trained import load_run
from contrastmask.runtime.locks import Stop
from contrastmask.training.build import build_dataset


def contrastmask(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def predict_run(images: object, results: Path, out: Path, *more: object) -> tuple[int, str, str]:
    return contrastmask("predict", images, "--run", RUN, "--results", results, "--out", out, *more)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of one name in two folders, and one more."""
    for seed, name in enumerate(("a/x.jpg", "b/x.jpg", "b/y.png")):
        picture(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def test_a_folder_gives_overlays_and_results_in_cocos_format(results: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = predict_run(photos, results, out, "--score-threshold", 0)
    assert code == 0 and "3 images" in said and "image 3/3" in said
    overlays = sorted(path.relative_to(out / "overlays").as_posix() for path in out.rglob("overlays/**/*.*"))
    assert overlays == ["a/x.jpg", "b/x.jpg", "b/y.png"]
    with Image.open(out / "overlays/a/x.jpg") as first, Image.open(out / "overlays/b/x.jpg") as second:
        assert not np.array_equal(np.array(first), np.array(second))
    coco = COCO(str(out / "images.json"))
    found = coco.loadRes(str(out / "results.json"))
    assert [image["file_name"] for image in coco.imgs.values()] == [
        str(photos / name) for name in ("a/x.jpg", "b/x.jpg", "b/y.png")
    ]
    assert set(found.imgToAnns) == {1, 2, 3}
    for entry in read(out / "results.json"):
        assert entry["segmentation"]["size"] == [72, 96]
        assert entry["category_id"] in {1, 2, 5, 9}


def test_results_are_those_of_evaluation(results: Path, run: Path, photos: Path, tmp_path: Path) -> None:
    """The same images as a dataset's val part, by the evaluation's own functions."""
    out = tmp_path / "out"
    predict_run(photos, results, out, "--score-threshold", 0)
    trained = load_run(run)
    dataset = {"categories": trained.categories, "val": {"annotations": str(out / "images.json"), "images": ""}}
    truth, model = COCO(dataset["val"]["annotations"]), trained.detector("cpu")
    expected = []
    for sample in build_dataset(trained.config, dataset, "val"):
        expected += predict_image(model, sample, truth, [c["id"] for c in trained.categories])[0]
    assert len(expected) > 0
    assert read(out / "results.json") == expected


def test_unreadable_files_are_named_left_out_and_told_by_the_code(results: Path, photos: Path, tmp_path: Path) -> None:
    whole = (photos / "a" / "x.jpg").read_bytes()
    (photos / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "a" / "text.png").write_text("not an image")
    (photos / "a" / "empty.jpg").touch()
    code, said, errors = predict_run(photos, results, tmp_path / "out")
    assert code == 1 and "3 images" in said
    named = [line for line in errors.splitlines() if line.startswith("not read: ")]
    assert [Path(line.split(": ")[1]).name for line in named] == ["cut.jpg", "empty.jpg", "text.png"]
    assert all(line.endswith("; fetch or export them again") for line in named)
    assert len(read(tmp_path / "out" / "images.json")["images"]) == 3
    assert not list((tmp_path / "out" / "overlays").rglob("cut*"))


def test_an_image_too_thin_for_the_model_costs_no_other_its_results(results: Path, tmp_path: Path) -> None:
    picture(tmp_path / "all" / "y.png")
    Image.new("RGB", (3000, 1)).save(tmp_path / "all" / "x.png")
    code, said, errors = predict_run(tmp_path / "all", results, tmp_path / "out")
    assert code == 1 and "1 images" in said and "x.png: is 3000x1, too thin" in errors and "; crop them" in errors
    assert [image["id"] for image in read(tmp_path / "out" / "images.json")["images"]] == [2]


def test_every_suffix_that_is_looked_for_can_be_read(results: Path, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        picture(tmp_path / "all" / f"{suffix[1:]}{suffix}")
    code, said, errors = predict_run(tmp_path / "all", results, tmp_path / "out")
    assert code == 0, errors
    assert f"{len(SUFFIXES)} images" in said


def test_a_picture_that_exif_turns_is_drawn_and_measured_upright(results: Path, tmp_path: Path) -> None:
    image = Image.open(picture(tmp_path / "x.jpg"))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.jpg", exif=exif)
    predict_run(tmp_path / "turned.jpg", results, tmp_path / "out")
    found = read(tmp_path / "out" / "images.json")["images"][0]
    assert (found["width"], found["height"]) == (72, 96)


def test_the_threshold_leaves_out_what_is_below(results: Path, photos: Path, tmp_path: Path) -> None:
    common = (photos / "a", results, tmp_path / "out", "--score-threshold")
    predict_run(*common, 0)
    scores = [entry["score"] for entry in read(tmp_path / "out" / "results.json")]
    middle = sorted(scores)[len(scores) // 2]
    predict_run(*common, middle)
    kept = [entry["score"] for entry in read(tmp_path / "out" / "results.json")]
    assert kept == [score for score in scores if score >= middle]
    assert 0 < len(kept) < len(scores)


def test_an_exported_model_finds_the_same_without_the_results(results: Path, photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(results, moved)
    code, said, _ = contrastmask("export", "--run", RUN, "--results", moved, "--out", tmp_path / "model")
    assert code == 0 and str(tmp_path / "model") in said
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md", "categories.json", "config.json", "model.safetensors"
    ]  # fmt: skip
    shutil.rmtree(moved)
    for option, value, out in (("--run", RUN, "ours"), ("--model", tmp_path / "model", "theirs")):
        code, _, errors = contrastmask(
            "predict", f"{photos}/*/x.*", option, value, "--results", results, "--out", tmp_path / out,
            "--score-threshold", 0,
        )  # fmt: skip
        assert code == 0, errors
    assert len(read(tmp_path / "ours" / "results.json")) > 0
    assert read(tmp_path / "ours" / "results.json") == read(tmp_path / "theirs" / "results.json")


def test_the_card_says_what_the_numbers_mean_and_where_the_model_comes_from(results: Path, tmp_path: Path) -> None:
    contrastmask("export", "--run", RUN, "--results", results, "--out", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    for said in (
        "numbers of this scale mean nothing", "| scale | smoke |", "| data digest | `data` |",
        "`c0ffee` with uncommitted changes", "with masks (2): bicycle, boat",
        "with boxes only (2): person, bus", "not measured",
    ):  # fmt: skip
        assert said in card


def test_export_replaces_nothing(results: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("precious")
    code, _, errors = contrastmask("export", "--run", RUN, "--results", results, "--out", tmp_path / "model")
    assert code == 2 and "not an empty folder" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "mine").read_text() == "precious"


def test_a_folder_without_a_name_is_no_place_for_an_export(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out, said in ((".", "has no name"), ("", "an empty text is no path")):
        code, _, errors = contrastmask("export", "--run", RUN, "--results", results, "--out", out)
        assert code == 2 and said in errors, errors
    assert not list(tmp_path.iterdir())


def test_a_signal_ends_the_work_with_its_code(run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        predict(load_run(run), [photos / "a" / "x.jpg"], tmp_path / "out", 0.3, "cpu", Stop(signal.SIGINT))
    assert end.value.code == 130
    assert not (tmp_path / "out" / "results.json").exists()


def test_wrong_input_is_code_2_and_leaves_nothing(results: Path, photos: Path, tmp_path: Path) -> None:
    run = ("--run", RUN, "--results", results, "--out", tmp_path / "out")
    for arguments, said in (
        ((photos,), "either --run RUN or --model FOLDER"),
        ((photos, *run, "--model", tmp_path), "either --run RUN or --model FOLDER"),
        ((photos, *run, "--seed", 1), "no seed 1"),
        ((photos, *run, "--scale", "paper"), "--scale"),
        ((photos, "--run", "nothing", "--results", results), f"such as: {RUN}"),
        ((photos / "none", *run), "does not exist"),
        ((photos, *run, "--device", "banana"), "--device banana"),
        ((photos, *run, "--score-threshold", 2), "--score-threshold"),
        ((photos, "--model", tmp_path / "none"), "contrastmask export"),
        ((*run,), "IMAGE"),
    ):
        code, _, errors = contrastmask("predict", *arguments)
        assert code == 2 and said in errors, errors
    assert not (tmp_path / "out").exists()


def test_an_overlay_never_replaces_an_image(results: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "out" / "overlays" / "x.jpg")
    before = image.read_bytes()
    code, _, errors = predict_run(image, results, tmp_path / "out")
    assert code == 2 and "another --out" in errors
    assert image.read_bytes() == before
