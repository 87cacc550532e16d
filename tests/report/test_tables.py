"""From metrics.json files to rows and files: what is counted, what is shown, what is never shown."""

import csv
import io
import logging
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contrastmask.config import Row, RunSpec, Table, load_table
from contrastmask.report.formats import write
from contrastmask.report.paper import METRICS
from contrastmask.report.tables import COLUMNS, MEASURED, OURS, THEIRS, build, to_csv

Put = Callable[..., Path]
PAPER = {"name": "paper", "note": "The recipe.", "comparable": True}


def load(name: str) -> Table:
    return load_table(name, "paper")


def run_of(label: str, name: str = "table4") -> str:
    return next(row.run.id for row in load(name).rows if row.label == label and row.run)


def row_of(results: pd.DataFrame, label: str) -> Any:
    return next(line for line in results.itertuples() if line.variant == label)


def lines(results: pd.DataFrame) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(results))))


def variants(*labels: str, setting: str = "nonvoc2voc") -> Table:
    """A user's table with one run a label."""
    specs = [RunSpec("contrastmask", "r50", "1x", setting, "paper", (("sigma", i),)) for i in range(len(labels))]
    rows = [
        Row("table8", label, "contrastmask", "r50", "1x", setting, 4, spec)
        for label, spec in zip(labels, specs, strict=True)
    ]
    return Table("table8", "Mine", "A caption.", tuple(rows))


def files(table: Table, results: Path, scale: dict[str, Any], seeds: list[int]) -> dict[str, str]:
    paths = write(table, build(table, results, scale, seeds, "paper"), results / "made", scale, seeds)
    assert sorted(paths) == sorted((results / "made").glob(f"{table.name}.*"))  # nothing half-written beside them
    return {path.suffix[1:]: path.read_text() for path in paths}


# ---------------------------------------------------------------------------- numbers


def test_columns():
    expected = (
        "table,setting,method,variant,backbone,schedule,mask_layers,AP,AP50,AP75,APs,APm,APl,IoU,AP_sd,AP50_sd,AP75_sd,"
        "APs_sd,APm_sd,APl_sd,IoU_sd,n_seeds,paper_AP,paper_AP50,paper_AP75,paper_APs,paper_APm,paper_APl,diff_AP,"
        "diff_AP50,diff_AP75,diff_APs,diff_APm,diff_APl,scale,preset,run,status,note"
    )
    assert list(COLUMNS) == expected.split(",")


def test_mean_sd_and_difference_over_seeds(results: Path, put: Put):
    values = [0.11, 0.123456789, 0.15]
    mean, sd = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    for seed, value in enumerate(values):
        put(run_of("sigma=0.1"), seed, value, "paper")
    found = row_of(build(load("table4"), results, PAPER, [0, 1, 2], "paper"), "sigma=0.1")
    assert (found.AP, found.AP_sd) == (pytest.approx(mean, abs=1e-12), pytest.approx(sd, abs=1e-12))  # unrounded
    assert found.paper_AP == 34.4 and found.diff_AP == pytest.approx(mean - 34.4)
    assert found.IoU == pytest.approx(mean) and "paper_IoU" not in COLUMNS
    assert (found.n_seeds, found.status, found.scale, found.preset) == (3, "ok", "paper", "paper")


def test_no_difference_at_a_scale_that_is_not_comparable(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"))
    line = lines(build(load("table4"), results, smoke, [0], "paper"))[0]
    assert (line["AP"], line["paper_AP"], line["diff_AP"]) == ("25.0", "34.4", "")


def test_one_seed_has_no_sd(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"))
    found = row_of(build(load("table4"), results, smoke, [0], "paper"), "sigma=0.1")
    assert found.AP == 25 and pd.isna(found.AP_sd) and found.status == "ok"


def test_what_could_not_be_measured_stays_empty(results: Path, put: Put):
    novel = dict.fromkeys(METRICS, 0.5) | {"APs": None}
    put(run_of("sigma=0.1"), scale="paper", changes={"segm": {"novel": novel}})
    found = row_of(build(load("table4"), results, PAPER, [0], "paper"), "sigma=0.1")
    assert found.AP == 50 and found.status == "ok"
    assert pd.isna(found.APs) and pd.isna(found.diff_APs)


def test_val_without_novel_masks_is_said(results: Path, smoke: dict[str, Any], put: Put):
    for seed in (0, 1):
        put(run_of("sigma=0.1"), seed, changes={"segm": {"novel": dict.fromkeys(METRICS)}, "bbox": {}})
    found = row_of(build(load("table4"), results, smoke, [0, 1], "paper"), "sigma=0.1")
    assert found.status == "no novel masks in val" and found.n_seeds == 2
    assert all(pd.isna(getattr(found, metric)) for metric in METRICS)
    assert all("no novel masks in val" in text for text in files(load("table4"), results, smoke, [0, 1]).values())
    measured = {"segm": {"novel": dict.fromkeys(METRICS), "base": {"AP": 0.25}}, "bbox": {"novel": {"AP": 0.125}}}
    for seed in (0, 1):
        put(run_of("sigma=0.1"), seed, changes=measured)
    found = row_of(build(load("table4"), results, smoke, [0, 1], "paper"), "sigma=0.1")
    assert found.status == "no novel masks in val (novel box AP 12.5, base mask AP 25.0)"
    assert all("base mask AP 25.0" in text for text in files(load("table4"), results, smoke, [0, 1]).values())


def test_rows_that_share_a_run_share_its_numbers(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.3"), AP=0.2)
    for name, label in [("table1", "Ours"), ("table2", "Baseline + CM + CL"), ("table7", "query-sharing=yes")]:
        found = row_of(build(load(name), results, smoke, [0], "paper"), label)
        assert found.AP == 20 and found.run == run_of("sigma=0.3")


# ---------------------------------------------------------------------------- statuses


def test_statuses(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), 1)
    found = build(load("table4"), results, smoke, [0, 1], "paper")
    assert row_of(found, "sigma=0.1").status == "partial (1 of 2 seeds)" and row_of(found, "sigma=0.1").n_seeds == 1
    assert row_of(found, "sigma=0.2").status == "not run"
    systems = list(build(load("table1"), results, smoke, [0], "paper").itertuples())
    assert {(bool(r.run), r.status) for r in systems} == {(True, "not run"), (False, "not implemented")} or all(
        r.run for r in systems
    )


def test_a_row_without_a_run_holds_no_number_of_ours(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"))
    missing = build(load("table4"), results, smoke, [0], "paper").query("status == 'not run'")
    assert len(missing) == 3 and not missing["n_seeds"].any() and missing[list(OURS)].isna().all(axis=None)
    made = files(load("table4"), results, smoke, [0])
    line = next(text for text in made["md"].splitlines() if "sigma=0.2" in text)
    assert re.findall(r"[\d.]+", line.replace("sigma=0.2", "")) == ["34.7"]  # the printed one


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
    "IoU in percent": {"gt_box_miou": {"novel": 50}},
    "IoU no object": {"gt_box_miou": 0.5},
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
        found = row_of(build(load("table4"), results, smoke, [0], "paper"), "sigma=0.1")
    assert found.status == f"unreadable: smoke/runs/{run}/seed0/metrics.json"
    assert pd.isna(found.AP) and str(file) in caplog.text
    assert all(files(load("table4"), results, smoke, [0]).values())


def test_readable_seeds_count_beside_a_damaged_one(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), 0)
    put(run_of("sigma=0.1"), 1).write_bytes(b"\xff\xfe")
    found = row_of(build(load("table4"), results, smoke, [0, 1], "paper"), "sigma=0.1")
    assert found.AP == 25 and found.n_seeds == 1 and found.status.endswith("seed1/metrics.json")


# ---------------------------------------------------------------------------- notes


def test_rows_of_rebuilt_systems_are_noted_as_reconstructions(results: Path, smoke: dict[str, Any]):
    found = build(load("table1"), results, smoke, [0], "paper").itertuples()
    assert {line.method: line.note for line in found if line.note} == {
        "CPMask": "reconstruction",
        "Mask GrabCut": "reconstruction",
    }


@pytest.mark.parametrize(
    ("method", "options", "note"),
    [
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
    assert list(build(table, results, smoke, [0], "paper")["note"]) == [note]


# ---------------------------------------------------------------------------- a user's table, and the csv


def test_a_users_table_has_nothing_printed(results: Path, put: Put):
    table = variants("a", "b")
    for run in table.runs:
        put(run.id, scale="paper")
    found = build(table, results, PAPER, [0], "paper")
    assert set(found["table"]) == {"table8"} and found[list(THEIRS)].isna().all(axis=None)
    made = files(table, results, PAPER, [0])
    assert made["md"].startswith("# Table 8. Mine") and "diff" not in made["md"]


def test_rows_of_equal_label_stay_apart(results: Path, smoke: dict[str, Any], put: Put):
    table = variants("same", "same")
    put(table.runs[0].id, AP=0.111)
    put(table.runs[1].id, AP=0.222)
    text = files(table, results, smoke, [0])["md"]
    assert "11.1" in text and "22.2" in text


def test_a_method_without_presets_stands_in_the_tables_preset(results: Path, smoke: dict[str, Any]):
    found = build(load("table2"), results, smoke, [0], "paper")
    run = load("table2").rows[0].run
    assert run and run.preset == "both" and set(found["preset"]) == {"paper"}


def test_csv_round_trip(results: Path, smoke: dict[str, Any], put: Put):
    put(run_of("sigma=0.1"), AP=0.1 / 3)
    found = build(load("table4"), results, smoke, [0], "paper")
    for line, result in zip(lines(found), found[list(MEASURED)].itertuples(index=False), strict=True):
        assert [line[name] and float(line[name]) for name in MEASURED] == ["" if pd.isna(n) else n for n in result]
