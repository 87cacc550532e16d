"""Scale garments: its settings stand in for the paper's, and its runs start from one detector."""

from pathlib import Path

import pytest

from contrastmask.config import all_runs, load_tables, resolve, settings_with
from contrastmask.config.rows import DETECTOR
from contrastmask.config.runfile import describe
from contrastmask.config.settings import Settings
from contrastmask.data.clothing import CATEGORIES
from contrastmask.data.splits import read_list
from contrastmask.paths import CONFIGS

BACKBONES = ("r50", "r101", "x50", "x101")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with({"scale": "garments", "data_root": "clone", "gpus_per_run": 1})


def test_its_lists_are_the_categories() -> None:
    upper, lower = (set(read_list(CONFIGS / "splits" / f"{name}.yaml")["categories"]) for name in ("upper", "lower"))
    assert upper | lower == CATEGORIES and not upper & lower and len(upper) == 13


def test_a_row_keeps_the_papers_setting_and_trains_on_this_scales(settings: Settings) -> None:
    run = load_tables(settings)["table2"].rows[0].run
    assert run is not None and run.setting == "nonvoc2voc" and "nonvoc2voc" in run.id
    assert settings.split(run.setting).parent.name == "lower2upper"
    assert resolve(run, settings)["setting"] == "lower2upper"
    assert settings.split("voc2nonvoc").parent.name == "upper2lower"


def test_the_baseline_has_the_detectors_box_head_unless_its_row_says_otherwise(settings: Settings) -> None:
    rows = {row.label: row.run for row in load_tables(settings)["controls"].rows}
    types = {}
    for label, run in rows.items():
        assert run is not None
        types[label] = resolve(run, settings)["model"]["roi_head"]["bbox_head"]["type"]
    assert set(types.values()) == {"CAMBoxHead"}
    assert not any(key == "box_head" for run in rows.values() if run for key, _ in run.options)


def test_every_run_starts_from_one_detector(settings: Settings, tmp_path: Path) -> None:
    runs = all_runs(load_tables(settings))
    detectors = {run.id: run for run in runs.values() if run.method == DETECTOR}
    trained = [run for run in runs.values() if not run.detector and run.method != DETECTOR]
    assert {run.start and run.start.id for run in trained} == set(detectors)
    assert set(detectors) == {f"detector_{b}_1x_nonvoc2voc" for b in BACKBONES}
    one = next(run for run in trained if run.backbone == "r50")
    assert one.start is not None
    detector = resolve(one.start, settings)
    assert detector["one_x"] == {"iterations": 500} and resolve(one, settings)["one_x"] == {"iterations": 250}
    assert detector["model"]["roi_head"]["mask_head"] is None
    written = describe(one, 2, settings)
    assert written["files"]["start"] == "../../detector_r50_1x_nonvoc2voc/seed2/model.pth"
    assert "start" not in describe(one.start, 2, settings)["files"]


@pytest.mark.parametrize("scale", ["garments", "coco-mini"])
def test_no_row_has_a_backbone_whose_weights_fit_no_narrowed_network(scale: str) -> None:
    settings = settings_with({"scale": scale, "data_root": "anywhere", "gpus_per_run": 1})
    runs = [run for run in all_runs(load_tables(settings)).values() if not run.detector]
    assert {resolve(run, settings)["backbone"] for run in runs} == {"lite0"}


def test_another_detector_is_another_training(settings: Settings) -> None:
    run = load_tables(settings)["table2"].rows[0].run
    assert run is not None
    changed = dict(settings.scale, detector={"setting": "nonvoc2voc", "one_x": {"iterations": 7}})
    other = Settings(**{**vars(settings), "scale": changed})
    assert resolve(run, settings)["start"] != resolve(run, other)["start"]
