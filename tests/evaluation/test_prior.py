"""Means over objects of the prior's quality."""

import csv
import io
from pathlib import Path

import pytest

from contrastmask.evaluation.prior import COLUMNS, MEASURES, means, to_csv, write_table


def line(split: str, **numbers: object) -> dict[str, str]:
    nothing = dict.fromkeys(COLUMNS, "")
    counts = {"class_right": "1", "fg": "0", "fg_right": "0", "bg": "0", "bg_right": "0", "cam_iou": "0.5"}
    return nothing | counts | {"split": split} | {name: str(value) for name, value in numbers.items()}


LINES = [
    line("novel", class_right=1, fg=10, fg_right=9, bg=20, bg_right=20, cos_X=0.5),
    line("novel", class_right=0, fg=2, fg_right=0, bg=30, bg_right=20, cos_X="nan"),
    line("base", class_right=1, fg=5, fg_right=5, bg=5, bg_right=0),
]


def test_precisions_pool_pixels_and_the_rest_are_means_over_objects() -> None:
    found = means(LINES, "novel")
    assert found["class_accuracy"] == 0.5
    assert found["fg_precision"] == pytest.approx(9 / 12)
    assert found["bg_precision"] == pytest.approx(40 / 50)
    assert found["wrong_keys"] == pytest.approx(1 - 49 / 62)
    assert found["with_keys"] == 0.5  # the second has 2 pixels of foreground
    assert found["cos_X"] == 0.5  # an object without a cosine does not count
    assert found["cos_Z"] is None


def test_nothing_measured_is_none() -> None:
    assert set(means([], "novel").values()) == {None}
    assert means([line("novel")], "novel")["fg_precision"] is None


def test_a_run_s_line_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    other = [line("novel", class_right=1)]
    found = list(csv.DictReader(io.StringIO(to_csv({"run": [LINES, other]}))))
    assert [f["split"] for f in found] == ["novel", "base"]
    assert float(found[0]["class_accuracy"]) == pytest.approx((0.5 + 1) / 2)
    assert found[0]["seeds"] == "2"


def test_both_files_are_written(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "a-run" / "seed0" / "prior.csv"
    file.parent.mkdir(parents=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(LINES)
    write_table(tmp_path, [file])
    assert "a-run" in (tmp_path / "prior.md").read_text()
    assert all(meaning in (tmp_path / "prior.md").read_text() for meaning in MEASURES.values())
