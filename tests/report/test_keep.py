"""What is kept gives the same claims and tables as what it was kept of."""

from pathlib import Path

import numpy as np
import pytest
from report.made_up import write_run, write_val

from contrastmask.evaluation.readings import MATCHES, ReadingsError, read_readings, read_val
from contrastmask.report.claims import claims, to_csv
from contrastmask.report.compare import compare
from contrastmask.report.keep import keep, main

RUNS = {"mask-rcnn_r50_1x_nonvoc2voc": 40, "contrastmask-paper_r50_1x_nonvoc2voc_cl-off": 10}
SMOKE = {"name": "smoke", "note": "A note.", "comparable": False}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scale's results folder, and what was kept of it."""
    root = tmp_path_factory.mktemp("keep")
    folder = root / "results" / "smoke"
    write_val(folder)
    for run, shift in RUNS.items():
        for seed in (0, 1):
            write_run(folder, run, shift, seed)
    assert keep(folder, root / "reference" / "smoke") == 4
    return folder, root / "reference" / "smoke"


def test_claims_are_the_same(folders: tuple[Path, Path]) -> None:
    _, kept = folders
    said = [to_csv(claims(place, [0, 1], resamples=200), SMOKE) for place in folders]
    assert said[0] == said[1]
    assert any(claim.ours is not None for claim in claims(kept, [0, 1], resamples=200))


def test_no_detection_no_mask_and_no_image_is_kept(folders: tuple[Path, Path]) -> None:
    _, kept = folders
    assert not list(kept.rglob("detections*")) and not list(kept.rglob("*.pth")) and not list(kept.rglob("*.jpg"))
    assert "segmentation" not in (kept / "data" / "instances_val.json").read_text()


def test_matches_come_back_as_they_were(folders: tuple[Path, Path]) -> None:
    run = next(iter(RUNS))
    before, after = (read_readings(place, run, 0, read_val(place)).segm for place in folders)
    for category, curves in before.items():
        for name in ("image", "hit", "counted", "truths"):
            np.testing.assert_array_equal(getattr(curves[0], name), getattr(after[category][0], name))


def test_runs_can_be_compared_as_far_as_they_were_kept(folders: tuple[Path, Path]) -> None:
    before, after = (compare(place, *RUNS, SMOKE, resamples=200) for place in folders)
    assert after.images == before.images and after.sizes == before.sizes and after.category_ap == before.category_ap
    for whole, left in zip(before.metrics, after.metrics, strict=True):
        if whole.name in ("mask APs", "mask APm", "mask APl", "box AP"):
            assert left.gain is None and left.a is None
        else:
            assert left == whole and left.gain is not None


def test_damaged_matches_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = folders
    keep(folder, tmp_path / "smoke")
    run = next(iter(RUNS))
    file = tmp_path / "smoke" / "runs" / run / "seed0" / MATCHES
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ReadingsError, match=MATCHES):
        _ = read_readings(tmp_path / "smoke", run, 0, read_val(tmp_path / "smoke")).segm


def test_a_scale_without_data_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--scale", "none", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2 and "dataset.json" in capsys.readouterr().err
