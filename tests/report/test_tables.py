"""From metrics.json files to data frames and files: what is counted, what is shown, what is never shown."""

import io
import logging
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contrastmask.config import CONFIGS, Row, RunSpec, Table, load_table
from contrastmask.report.paper import METRICS
from contrastmask.report.tables import COLUMNS, build, write

Put = Callable[..., Path]


def load(name: str) -> Table:
    return load_table(CONFIGS / "tables" / f"{name}.yaml", "paper", CONFIGS)


def run_of(label: str, name: str = "table4") -> str:
    return next(row.run.id for row in load(name).rows if row.label == label and row.run)


def line_of(frame: pd.DataFrame, label: str) -> pd.Series:
    return frame[frame.variant == label].iloc[0]


def variants(*labels: str, setting: str = "nonvoc2voc") -> Table:
    """A user's table with one run a label."""
    specs = [RunSpec("contrastmask", "r50", "1x", setting, "paper", (("sigma", i),)) for i in range(len(labels))]
    rows = [
        Row("table8", label, "contrastmask", "r50", "1x", setting, 4, spec)
        for label, spec in zip(labels, specs, strict=True)
    ]
    return Table("table8", "Mine", "A caption.", tuple(rows))


# ---------------------------------------------------------------------------- numbers


def test_columns(results: Path, smoke: dict[str, Any]):
    frame = build(load("table4"), results, smoke, [0], "paper")
    expected = (
        "table,setting,method,variant,backbone,schedule,mask_layers,AP,AP50,AP75,APs,APm,APl,AP_sd,AP50_sd,AP75_sd,"
        "APs_sd,APm_sd,APl_sd,n_seeds,paper_AP,paper_AP50,paper_AP75,paper_APs,paper_APm,paper_APl,diff_AP,diff_AP50,"
        "diff_AP75,diff_APs,diff_APm,diff_APl,scale,preset,run,status,note"
    )
    assert list(frame.columns) == list(COLUMNS) == expected.split(",")


def test_mean_sd_and_difference_over_seeds(results: Path, smoke: dict[str, Any], put: Put):
    values = [0.11, 0.123456789, 0.15]
    mean, sd = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    for seed, value in enumerate(values):
        put(run_of("sigma=0.1"), seed, value)
    line = line_of(build(load("table4"), results, smoke, [0, 1, 2], "paper"), "sigma=0.1")
    assert line["AP"] == pytest.approx(mean, abs=1e-12)  # unrounded
    assert line["AP_sd"] == pytest.approx(sd, abs=1e-12)
    assert line.paper_AP == 34.4
    assert line.diff_AP == pytest.approx(line.AP - 34.4)
    assert (line.n_seeds, line.status, line.scale, line.preset) == (3, "ok", "smoke", "paper")


def test_one_seed_has_no_sd(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"))
    line = line_of(build(load("table4"), results, smoke, [0], "paper"), "sigma=0.1")
    assert line.AP == 25 and pd.isna(line.AP_sd) and line.status == "ok"


def test_what_could_not_be_measured_stays_empty(results: Path, smoke: dict[str, Any], put: Put):
    novel = dict.fromkeys(METRICS, 0.5) | {"APs": None}
    put(run_of("sigma=0.1"), changes={"segm": {"novel": novel}})
    line = line_of(build(load("table4"), results, smoke, [0], "paper"), "sigma=0.1")
    assert line.AP == 50 and pd.isna(line.APs) and pd.isna(line.diff_APs) and line.status == "ok"


def test_val_without_novel_masks_is_said(results: Path, smoke: dict[str, Any], put: Put):
    nothing = {"segm": {"novel": dict.fromkeys(METRICS)}}
    for seed in (0, 1):
        put(run_of("sigma=0.1"), seed, changes=nothing)
    table = load("table4")
    frame = build(table, results, smoke, [0, 1], "paper")
    line = line_of(frame, "sigma=0.1")
    assert line.status == "no novel masks in val" and line.n_seeds == 2
    assert all(pd.isna(line[metric]) for metric in METRICS)
    for path in write(table, frame, results, smoke, [0, 1]):
        assert "no novel masks in val" in path.read_text()


def test_rows_that_share_a_run_share_its_numbers(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.3"), AP=0.2)
    for name, label in [("table2", "Baseline + CM + CL"), ("table7", "query-sharing=yes")]:
        assert line_of(build(load(name), results, smoke, [0], "paper"), label).AP == 20
    ours = line_of(build(load("table1"), results, smoke, [0], "paper"), "Ours")
    assert ours.AP == 20 and ours.run == run_of("sigma=0.3")


# ---------------------------------------------------------------------------- statuses


def test_statuses(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), 1)
    frame = build(load("table4"), results, smoke, [0, 1], "paper")
    assert line_of(frame, "sigma=0.1").status == "partial (1 of 2 seeds)"
    assert line_of(frame, "sigma=0.1").n_seeds == 1
    assert line_of(frame, "sigma=0.2").status == "not run"
    systems = build(load("table1"), results, smoke, [0], "paper")
    assert set(systems.status) <= {"not run", "not implemented"}
    assert all(systems[systems.run == ""].status == "not implemented")


def test_a_row_without_a_run_holds_no_number_of_ours(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"))
    frame = build(load("table4"), results, smoke, [0], "paper")
    missing = frame[frame.status == "not run"]
    ours = [column for column in COLUMNS if column.removesuffix("_sd") in METRICS or column.startswith("diff_")]
    assert len(missing) == 3 and missing[ours].isna().all(axis=None) and (missing.n_seeds == 0).all()
    markdown = write(load("table4"), frame, results, smoke, [0])[1].read_text()
    line = next(text for text in markdown.splitlines() if "sigma=0.2" in text)
    assert not re.search(r"\d", line.replace("sigma=0.2", ""))


DAMAGE: dict[str, dict[str, Any] | str] = {
    "no JSON": "{",
    "not an object": "[]",
    "another scale": {"scale": "paper"},
    "another run": {"run": "x"},
    "another seed": {"seed": 7},
    "no segm": {"segm": None},
    "no novel": {"segm": {}},
    "a metric is missing": {"segm": {"novel": {"AP": 0.1}}},
    "percent": {"segm": {"novel": dict.fromkeys(METRICS, 35.1)}},
    "NaN": {"segm": {"novel": dict.fromkeys(METRICS, float("nan"))}},
    "text": {"segm": {"novel": dict.fromkeys(METRICS, "0.1")}},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_and_the_table_still_renders(
    damage: dict[str, Any] | str, results: Path, smoke: dict[str, Any], put: Put, caplog: pytest.LogCaptureFixture
):
    run = run_of("sigma=0.1")
    file = put(run, changes=damage) if isinstance(damage, dict) else put(run)
    if isinstance(damage, str):
        file.write_text(damage)
    with caplog.at_level(logging.WARNING):
        frame = build(load("table4"), results, smoke, [0], "paper")
    line = line_of(frame, "sigma=0.1")
    assert line.status == f"unreadable: smoke/runs/{run}/seed0/metrics.json"
    assert pd.isna(line.AP) and str(file) in caplog.text
    assert all(path.stat().st_size for path in write(load("table4"), frame, results, smoke, [0]))


def test_readable_seeds_count_beside_a_damaged_one(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), 0)
    put(run_of("sigma=0.1"), 1).write_bytes(b"\xff\xfe")
    line = line_of(build(load("table4"), results, smoke, [0, 1], "paper"), "sigma=0.1")
    assert line.AP == 25 and line.n_seeds == 1 and line.status.endswith("seed1/metrics.json")


# ---------------------------------------------------------------------------- notes


def test_rows_of_rebuilt_systems_are_noted_as_reconstructions(results: Path, smoke: dict[str, Any]):
    notes = build(load("table1"), results, smoke, [0], "paper").groupby("method").note.unique()
    assert {method for method in notes.index if list(notes[method]) != [""]} == {"CPMask", "Mask GrabCut"}
    assert list(notes["CPMask"]) == list(notes["Mask GrabCut"]) == ["reconstruction"]


@pytest.mark.parametrize(
    ("method", "options", "note"),
    [
        ("contrastmask", (), ""),
        ("contrastmask", (("sigma", 0.1),), ""),
        ("contrastmask", (("novel_masks", "keys"),), "uses novel masks"),
        ("mask-rcnn", (("novel_masks", "all"),), "uses novel masks"),
        ("cpmask", (("novel_masks", "all"),), "reconstruction; uses novel masks"),
        ("my-own", (), ""),
    ],
)
def test_notes(method: str, options: tuple[tuple[str, Any], ...], note: str, results: Path, smoke: dict[str, Any]):
    spec = RunSpec(method, "r50", "1x", "nonvoc2voc", "paper", options)
    table = Table("table8", "T", "C", (Row("table8", "a", method, "r50", "1x", "nonvoc2voc", 4, spec),))
    assert list(build(table, results, smoke, [0], "paper").note) == [note]


# ---------------------------------------------------------------------------- a user's table


def test_a_users_table_has_nothing_printed(results: Path, smoke: dict[str, Any], put: Put):
    table = variants("a", "b")
    for run in table.runs:
        put(run.id)
    frame = build(table, results, smoke, [0], "paper")
    assert set(frame.table) == {"table8"} and frame.paper_AP.isna().all() and frame.diff_AP.isna().all()
    markdown = write(table, frame, results, smoke, [0])[1].read_text()
    assert markdown.startswith("# Table 8. Mine") and "diff" not in markdown


def test_rows_of_equal_label_stay_apart(results: Path, smoke: dict[str, Any], put: Put):
    table = variants("same", "same")
    put(table.runs[0].id, AP=0.111)
    put(table.runs[1].id, AP=0.222)
    markdown = write(table, build(table, results, smoke, [0], "paper"), results, smoke, [0])[1].read_text()
    assert "11.1" in markdown and "22.2" in markdown


def test_a_method_without_presets_stands_in_the_tables_preset(results: Path, smoke: dict[str, Any]):
    frame = build(load("table2"), results, smoke, [0], "paper")
    assert load("table2").rows[0].run.preset == "both" and set(frame.preset) == {"paper"}


# ---------------------------------------------------------------------------- files


def test_four_files_and_nothing_half_written(results: Path, smoke: dict[str, Any]):
    table = load("table4")
    paths = write(table, build(table, results, smoke, [0], "paper"), results, smoke, [0])
    assert [path.name for path in paths] == ["table4.csv", "table4.md", "table4.html", "table4.tex"]
    assert sorted(paths) == sorted((results / "smoke" / "tables").iterdir())


def test_csv_round_trip(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), AP=0.1 / 3)
    table = load("table4")
    frame = build(table, results, smoke, [0], "paper")
    text = write(table, frame, results, smoke, [0])[0].read_text()
    texts = dict.fromkeys(frame.select_dtypes(exclude="number").columns, str)
    again = pd.read_csv(io.StringIO(text), dtype=texts, float_precision="round_trip")
    pd.testing.assert_frame_equal(again.fillna({"run": "", "note": ""}), frame, check_exact=True, check_dtype=False)


def test_csv_has_the_printed_key_columns(results: Path, smoke: dict[str, Any]):
    printed = pd.read_csv(CONFIGS / "paper" / "paper_tables.csv", dtype=str, keep_default_na=False)
    keys = list(printed.columns[:7])
    for number in range(1, 8):
        table = load(f"table{number}")
        path = write(table, build(table, results, smoke, [0], "paper"), results, smoke, [0])[0]
        ours = pd.read_csv(path, dtype=str, keep_default_na=False)
        expected = printed[printed.table == str(number)].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours[keys], expected[keys])
