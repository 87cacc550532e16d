"""Means over objects of the prior's quality."""

from pathlib import Path

import pandas as pd
import pytest

from contrastmask.errors import DataError
from contrastmask.evaluation.prior import COLUMNS, MEASURES, by_run, means, write_table


def line(split: str, **numbers: object) -> dict[str, object]:
    counts = {"class_right": 1, "fg": 0, "fg_right": 0, "bg": 0, "bg_right": 0, "cam_iou": 0.5}
    return {"split": split} | counts | numbers


LINES = pd.DataFrame(
    [
        line("novel", class_right=1, fg=10, fg_right=9, bg=20, bg_right=20, cos_X=0.5, std_X=3.0, std_A=0.5),
        line("novel", class_right=0, fg=2, fg_right=0, bg=30, bg_right=20, cos_X=float("nan"), std_X=1.0, std_A=0.3),
        line("base", class_right=1, fg=5, fg_right=5, bg=5, bg_right=0),
    ],
    columns=[*COLUMNS],
)


def test_precisions_pool_pixels_and_the_rest_are_means_over_objects() -> None:
    found = means(LINES[LINES["split"] == "novel"])
    assert found["class_accuracy"] == 0.5
    assert found["fg_precision"] == pytest.approx(9 / 12)
    assert found["bg_precision"] == pytest.approx(40 / 50)
    assert found["wrong_keys"] == pytest.approx(1 - 49 / 62)
    assert found["with_keys"] == 0.5  # the second has 2 pixels of foreground
    assert found["cos_X"] == 0.5  # an object without a cosine does not count
    assert pd.isna(found["cos_Z"])
    assert found["X_to_A"] == pytest.approx((3 + 1) / (0.5 + 0.3))


def test_nothing_measured_is_no_number() -> None:
    assert means(LINES[:0]).isna().all()
    assert pd.isna(means(pd.DataFrame([line("novel")], columns=[*COLUMNS]))["fg_precision"])


def test_a_run_s_line_is_the_mean_over_its_seeds_in_both_files(tmp_path: Path) -> None:
    files = []
    for seed, lines in enumerate((LINES, pd.DataFrame([line("novel", class_right=1)], columns=[*COLUMNS]))):
        files.append(tmp_path / "runs" / "a-run" / f"seed{seed}" / "prior.csv")
        files[-1].parent.mkdir(parents=True)
        lines.to_csv(files[-1], index=False)
    found = by_run(files)
    assert [*found["split"]] == ["novel", "base"] and [*found["seeds"]] == [2, 2]
    assert found["class_accuracy"][0] == pytest.approx((0.5 + 1) / 2)
    write_table(tmp_path, files)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "prior.csv"), found, check_dtype=False, atol=1e-6)
    text = (tmp_path / "prior.md").read_text()
    assert "a-run" in text and all(meaning in text for meaning in MEASURES.values())


@pytest.mark.parametrize("text", ["", "a,b\n", ",".join(COLUMNS) + "\n1,2,novel,yes" + ",x" * (len(COLUMNS) - 4)])
def test_what_diagnose_did_not_write_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "prior.csv").write_text(text)
    with pytest.raises(DataError, match=r"prior.csv is no prior.csv of `contrastmask diagnose`"):
        by_run([tmp_path / "prior.csv"])
