"""Calibration: at which size, and seconds from real steps of the smallest system."""

import json
from pathlib import Path

import pytest

from benchmarks.calibrate import expected_seconds, images, typical_size
from contrastmask.config import Settings, run_spec, settings_with
from contrastmask.errors import ConfigError

ROW = {"method": "mask-rcnn", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}


def settings(results: Path, scale: str = "smoke") -> Settings:
    root = {} if scale == "smoke" else {"data_root": "none"}
    return settings_with({"results": str(results), "scale": scale} | root)


@pytest.mark.parametrize(
    ("scales", "size"),
    [([[128, 128]], (128, 128)), ([[1333, 640], [1333, 800]], (960, 720)), ([[320, 200]], (267, 200))],
)
def test_typical_size(scales: list[list[int]], size: tuple[int, int]) -> None:
    assert typical_size(scales) == size


def test_images_are_those_verified_or_known_in_advance(tmp_path: Path) -> None:
    assert images(settings(tmp_path, "paper"), "val") == 5000
    with pytest.raises(ConfigError, match=r"dataset.json is missing: run `snakemake"):
        images(settings(tmp_path, "coco-mini"), "val")
    here = settings(tmp_path, "coco-mini")
    here.dataset.parent.mkdir(parents=True)
    here.dataset.write_text(json.dumps({"val": {"n_images": 150}}))
    assert images(here, "val") == 150


def test_real_steps_give_seconds(tmp_path: Path) -> None:
    assert 0 < expected_seconds(run_spec(ROW, "paper"), settings(tmp_path)) < 36_000
