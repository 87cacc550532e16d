"""Two runs side by side, from the files that evaluation writes."""

import gzip
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from report.made_up import write_run, write_val
from rich.console import Console

from contrastmask.cli.results import compare as command
from contrastmask.config import config_hash
from contrastmask.evaluation.bootstrap import image_weights
from contrastmask.evaluation.measurements import EVERY, MeasurementError, finished_seeds, read_measurements, read_val
from contrastmask.report.compare import Comparison, Pair, compare, differences
from contrastmask.report.compare_views import print_text, to_html

SCALE = {"name": "smoke", "note": "A note <b>to keep</b>.", "comparable": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/smoke with a bad run, a good one, and the good one under another seed too."""
    folder = tmp_path_factory.mktemp("results") / "smoke"
    write_val(folder)
    write_run(folder, "bad", 30, config={"model": {"depth": 50, "head": {"cl": False}}, "options": {"cl": False}})
    write_run(folder, "good", 4, config={"model": {"depth": 50, "head": {"cl": True, "tau": 0.7}}, "options": {}})
    write_run(folder, "bad", 30, seed=1)
    write_run(folder, "good", 4, seed=1)
    write_run(folder, "good", 4, seed=2)
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Comparison:
    return compare(folder, "bad", "good", SCALE, seeds=[0], resamples=200)


def shown(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_text(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_measurements_give_the_metrics(folder: Path) -> None:
    """On the images as they are: what evaluation wrote, for every subset, size and kind."""
    val = read_val(folder)
    once = image_weights(len(val.images), 1)[:1]
    measurements = read_measurements(folder, "bad", 0, val)
    for subset in ("novel", "base", "all"):
        chosen = measurements.categories(subset)
        for kind in ("segm", "bbox"):
            for metric, expected in measurements.metrics[kind][subset].items():
                found = measurements.average_precision(chosen, once, metric, kind)[0]
                assert found == (pytest.approx(expected) if expected is not None else pytest.approx(None, nan_ok=True))
        assert measurements.mean_iou(chosen, once)[0] == pytest.approx(measurements.metrics["gt_box_miou"][subset])


def test_each_weighting_has_its_own_measurements(folder: Path) -> None:
    val = read_val(folder)
    weights = image_weights(len(val.images), 2)
    together, apart = (read_measurements(folder, "bad", 0, val) for _ in range(2))
    expected = together.average_precision([3, 5], weights)
    found = [float(apart.average_precision([3, 5], row[None])[0]) for row in weights]
    assert found == pytest.approx(list(expected)) and len(set(found)) == 3


def test_what_evaluation_left_out_is_in_no_mean(tmp_path: Path) -> None:
    """A category that was never trained, and one whose mask AP is null, as of a run that segments novel ones alone."""
    write_val(tmp_path)
    file = write_run(tmp_path, "bad", 30) / "metrics.json"
    metrics = json.loads(file.read_text())
    cup, dog, kite = metrics["per_category"]
    kite["trained"], cup["segm_AP"] = False, None
    file.write_text(json.dumps(metrics))
    val = read_val(tmp_path)
    measurements, once = read_measurements(tmp_path, "bad", 0, val), image_weights(len(val.images), 1)[:1]
    assert [measurements.categories(subset) for subset in ("novel", "base", "all")] == [[5], [3], [3, 5]]
    assert measurements.average_precision([3, 5], once)[0] == pytest.approx(dog["segm_AP"])
    assert pd.isna(measurements.average_precision([3], once)[0])
    assert measurements.average_precision([3], once, kind="bbox")[0] == pytest.approx(cup["bbox_AP"])


def test_a_copied_seed_is_no_second_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "smoke")
    runs = tmp_path / "smoke" / "runs" / "good"
    for name in ("seed7", "seed²"):
        shutil.copytree(runs / "seed0", runs / name)
    assert finished_seeds(tmp_path / "smoke", "good") == [0, 1, 2, 7]
    with pytest.raises(MeasurementError, match=r"good/seed7.*its seed is 0, not '7'"):
        read_measurements(tmp_path / "smoke", "good", 7, read_val(tmp_path / "smoke"))


def test_gains_are_b_minus_a_and_positive_for_the_better_run(compared: Comparison) -> None:
    assert [*compared.metrics["metric"][[0, 7]]] == ["mask AP", "mask IoU in true boxes"]
    for line in compared.metrics.loc[[0, 7]].itertuples():
        assert line.gain == pytest.approx(line.B - line.A) and 0 < line.low < line.gain < line.high
        assert line.objects == 24


def test_every_metric_is_the_one_that_it_is_named(folder: Path, compared: Comparison) -> None:
    said = json.loads((folder / "runs" / "bad" / "seed0" / "metrics.json").read_text())
    measured = [*said["segm"]["novel"].values(), said["bbox"]["novel"]["AP"], said["gt_box_miou"]["novel"]]
    names = ["mask AP", "mask AP50", "mask AP75", "mask APs", "mask APm", "mask APl", "box AP"]
    assert [*compared.metrics["metric"]] == [*names, "mask IoU in true boxes"]
    assert [*compared.metrics["A"]] == pytest.approx(measured) and len(set(measured)) == len(measured)


def test_the_other_way_round_is_the_opposite(folder: Path, compared: Comparison) -> None:
    other = compare(folder, "good", "bad", SCALE, seeds=[0], resamples=200)
    assert [*compared.metrics["gain"]] == pytest.approx([*-other.metrics["gain"]], nan_ok=True)
    assert [*compared.metrics["low"]] == pytest.approx([*-other.metrics["high"]], nan_ok=True)


def test_categories_are_those_of_the_subset_and_sorted(folder: Path, compared: Comparison) -> None:
    assert [*compared.category_ap["category"]] == ["dog", "kite"]
    kite = compared.category_ap.iloc[1]
    assert kite["objects"] == 0 and kite[["A", "B", "gain", "low", "high"]].isna().all()
    every = compare(folder, "bad", "good", SCALE, subset="all", seeds=[0], resamples=200).category_iou
    assert every["gain"].dropna().is_monotonic_decreasing and [*every["gain"].isna()] == [False, False, True]


def test_sizes_are_cocos(folder: Path, compared: Comparison) -> None:
    objects = json.loads((folder / "data" / "val.json").read_text())["annotations"]
    areas = [a["area"] for a in objects if a["category_id"] == 5]
    small, medium = (sum(area < side**2 for area in areas) for side in (32, 96))
    assert [*compared.sizes["objects"]] == [small, medium - small, 24 - medium] and 0 < small < medium < 24
    assert [*compared.sizes["objects"]] == [*compared.metrics["objects"][3:6]]


def test_images_by_gain(folder: Path, compared: Comparison) -> None:
    assert len(compared.images) == 24 and compared.images["gain"].is_monotonic_decreasing
    first = compared.images.iloc[0]
    rows = {}
    for run in ("bad", "good"):
        measurements = read_measurements(folder, run, 0, read_val(folder))
        dogs = measurements.objects.query("category == 5")["iou"]
        rows[run] = dogs.iloc[first["image"] - 100]  # one dog an image, in order
    assert (first["A"], first["B"]) == (pytest.approx(rows["bad"]), pytest.approx(rows["good"]))


def test_several_seeds(folder: Path, compared: Comparison) -> None:
    both = compare(folder, "bad", "good", SCALE, resamples=200)
    assert both.seeds == (0, 1)  # those that both have
    assert "2 seeds" in both.notes[-1] and "One seed" in compared.notes[-1]
    second = compare(folder, "bad", "good", SCALE, seeds=[1], resamples=200)
    means = (compared.metrics["A"] + second.metrics["A"]) / 2
    assert [*both.metrics["A"]] == pytest.approx([*means], nan_ok=True) and not means.isna().all()


def test_a_gain_is_paired_by_seed() -> None:
    """Seeds that lie far apart in both runs alike leave no doubt of what lies between the runs."""

    def side(*values: float) -> tuple[Any, ...]:
        objects = np.ones(1), np.ones(1)
        return tuple(SimpleNamespace(value=np.full(50, v), iou_by_image=lambda *_: objects) for v in values)

    pair = Pair(side(0.1, 0.3, 0.5), side(0.15, 0.35, 0.55), np.ones((50, 1)))
    found = pair._gain([5], lambda seed: seed.value, EVERY)
    assert [found[key] for key in ("A", "B", "gain", "low", "high")] == pytest.approx([0.3, 0.35, 0.05, 0.05, 0.05])


def test_only_what_differs() -> None:
    a = {"lr": 0.1, "model": {"depth": 50, "sizes": [1, 2], "head": {"cl": True}}, "options": {"x": 1}}
    b = {"lr": 0.1, "model": {"depth": 50, "sizes": [1, 3], "head": {}, "new": None}, "options": {}}
    assert differences(a, b).to_numpy().tolist() == [
        ["model.sizes", "[1, 2]", "[1, 3]"],
        ["model.head.cl", "true", "–"],
        ["model.head", "–", "{}"],
        ["model.new", "–", "null"],
    ]
    assert differences(a, a).empty


def test_text_has_every_part(compared: Comparison) -> None:
    text = shown(compared)
    for part in ("model.head.tau", "mask APs", "medium", "dog", "image", "200 paired bootstrap", "seed 0", "smoke"):
        assert part in text
    assert "model.depth" not in text
    ap = compared.metrics.iloc[0]
    assert f"[{100 * ap['low']:+.2f}, {100 * ap['high']:+.2f}]" in text


def test_equal_configurations_are_said(compared: Comparison) -> None:
    assert "are the same" in shown(replace(compared, config=compared.config[:0]))
    assert "are the same" in to_html(replace(compared, config=compared.config[:0]))


def test_html_needs_nothing_else_and_escapes(compared: Comparison) -> None:
    page = to_html(compared)
    assert page.lstrip().startswith("<!doctype html>") and "<b>to keep" not in page
    assert re.findall(r'(?:src|href)="[^"]*"', page) == ['href="data:,"']
    for text in ("dog", "model.head.cl", "200 paired bootstrap"):
        assert text in page


def test_what_files_hold_cannot_paint_the_terminal(compared: Comparison) -> None:
    """Markup of rich and escape sequences, in names of categories and files, keys, values and the scale's note."""
    evil = "[red]x\x1b[2J[/red]"
    hostile = replace(
        compared,
        notes=(evil,),
        config=pd.DataFrame({"key": [evil], "A": [evil], "B": [evil]}),
        category_ap=compared.category_ap.assign(category=evil),
        images=compared.images.assign(file=evil),
    )
    text = shown(hostile)
    assert "\x1b" not in text and text.count(r"[red]x\x1b[2J[/red]") >= 1 + 3 + 2 + 5


def test_command(folder: Path, tmp_path: Path) -> None:
    arguments = ["bad", "good", "--results", str(folder.parent), "--seeds", "0,1", "--resamples", "100"]
    page = tmp_path / "page.html"
    result = CliRunner().invoke(command, [*arguments, "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert "mask AP50" in result.output and "mask AP50" in page.read_text()
    for seeds in ("zero", "0,", "²", "0,0", "0,1, 00"):  # one seed taken twice would pass for two
        refusal = CliRunner().invoke(command, ["bad", "good", "--seeds", seeds])
        assert refusal.exit_code == 2 and "each once" in refusal.output


# ---------------------------------------------------------------------------- what is not there or not right


def test_unknown_runs_are_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(MeasurementError, match=r"goood holds no evaluated seed; finished runs like it: good"):
        compare(folder, "bad", "goood", SCALE)


def test_missing_seed(folder: Path) -> None:
    with pytest.raises(MeasurementError, match=r"seed2/metrics.json is missing: evaluate bad, seed 2"):
        compare(folder, "bad", "good", SCALE, seeds=[2])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a good and a bad run, to be damaged."""
    write_val(tmp_path)
    return write_run(tmp_path, "good", 4), write_run(tmp_path, "bad", 30)


def refused(folder: Path, words: str) -> None:
    with pytest.raises(MeasurementError, match=words):
        compare(folder, "bad", "good", SCALE)


def test_measurements_of_another_run_are_found_out(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    good, bad = pair
    whole = (good / "gt_box_iou.csv").read_text()
    (good / "gt_box_iou.csv").write_text(whole.replace("annotation_id", "annotation"))
    refused(tmp_path, r"cannot be read: ValueError\(.*annotation_id.*evaluate the run again")
    (good / "gt_box_iou.csv").write_text(whole)
    (good / "detections.json.gz").write_bytes((bad / "detections.json.gz").read_bytes())
    refused(tmp_path, r"but metrics.json says .*evaluate the run again")
    with gzip.open(good / "detections.json.gz", "wt") as file:
        file.write("[")
    refused(tmp_path, r"detections.json.gz cannot be read")


def test_a_configuration_that_was_not_measured_is_found_out(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """As after a change that was not trained to its end or for one seed alone, or after an edit of the file."""
    config, metrics = pair[0] / "config.json", pair[0] / "metrics.json"
    whole, was = json.loads(metrics.read_text()), config_hash({"lr": 1})
    metrics.write_text(json.dumps(whole | {"config_hash": was}))
    config.write_text(json.dumps({"config": {"lr": 1}, "config_hash": was}))
    assert compare(tmp_path, "bad", "good", SCALE, resamples=100).config["key"].tolist() == ["method", "lr"]
    config.write_text(json.dumps({"config": {"lr": 2}, "config_hash": was}))
    refused(tmp_path, r"good/seed0/config.json and metrics.json of its seeds \(seed0\) are of different configurations")
    config.unlink()
    refused(tmp_path, "config.json cannot be read: .*; `contrastmask configure good` writes it anew")


def test_other_data_are_found_out(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    file = tmp_path / "data" / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"digest": "d2"}))
    refused(tmp_path, "other data")


def test_metrics_without_a_category_or_its_ap_are_found_out(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    file = pair[1] / "metrics.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"per_category": whole["per_category"][1:]}))
    refused(tmp_path, r"metrics.json has other categories than .*evaluate the run again")
    del whole["per_category"][0]["segm_AP"]
    file.write_text(json.dumps(whole))
    refused(tmp_path, r"cannot be read: KeyError\('segm_AP'\); evaluate the run again")


def test_other_splits_are_another_question(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    file = pair[1] / "metrics.json"
    metrics = json.loads(file.read_text())
    for category in metrics["per_category"]:
        category["split"] = {"novel": "base", "base": "novel"}[category["split"]]
    file.write_text(json.dumps(metrics))
    refused(tmp_path, "--subset all")
    assert compare(tmp_path, "bad", "good", SCALE, subset="all", resamples=100).metrics["gain"].notna().any()
