"""The chain as a user runs it, at smoke scale, in an empty copy of the project: a small one, and all tables."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from end_to_end.chain import ROOT, fresh_project, snakemake
from pycocotools import mask as coco_mask

from contrastmask.tracking.curves import read_events

MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"
METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl"]


def frame(project: Path, table: str) -> pd.DataFrame:
    return pd.read_csv(project / "results" / "smoke" / "tables" / f"{table}.csv", keep_default_na=False, dtype=str)


def tables(project: Path) -> list[str]:
    """Names of the tables that were made."""
    return sorted(path.stem for path in (project / "results" / "smoke" / "tables").glob("table?.csv"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def seed_folder(project: Path, run: str = MAIN) -> Path:
    return project / "results" / "smoke" / "runs" / run / "seed0"


def runs(project: Path) -> list[Path]:
    """Folders of the runs that were measured."""
    return [file.parent for file in (project / "results" / "smoke" / "runs").glob("*/seed0/metrics.json")]


# ---------------------------------------------------------------------------- the small chain, and all of it


def test_every_table_is_there_in_four_formats_and_says_that_it_means_nothing(project: Path) -> None:
    output, folder = (project / "output.txt").read_text(), project / "results" / "smoke" / "tables"
    assert "table2" in tables(project)
    for name in tables(project):
        for suffix in ("csv", "md", "html", "tex"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 0
            assert suffix == "csv" or "mean nothing" in (folder / f"{name}.{suffix}").read_text()
    assert (folder / "table2.md").read_text() in output
    assert all(
        words in output for words in ("results/smoke/tables", "make ui", "report", "scale=garments", "init FOLDER")
    )


def test_a_tables_number_is_the_runs_number(project: Path) -> None:
    for name in tables(project):
        for _, row in frame(project, name).iterrows():
            assert row["status"] == "ok" and row["run"] and row["AP"], row
            measured = read(seed_folder(project, row["run"]) / "metrics.json")["segm"]["novel"]
            for metric in METRICS:
                expected = None if measured[metric] is None else pytest.approx(100 * measured[metric])
                assert (float(row[metric]) if row[metric] else None) == expected


def test_every_run_found_masks_and_its_metrics_are_complete(project: Path) -> None:
    digest = read(project / "results/smoke/data/dataset.json")["digest"]
    for folder in runs(project):
        metrics = read(folder / "metrics.json")
        for kind in ("segm", "bbox"):
            for subset in ("novel", "base", "all"):
                assert set(metrics[kind][subset]) == set(METRICS)
                assert all(v is None or 0 <= v <= 1 for v in metrics[kind][subset].values())
        assert 0 < metrics["gt_box_miou"]["novel"] <= 1, folder
        assert len(metrics["per_category"]) == 8 and metrics["data_digest"] == digest
        with gzip.open(folder / "detections.json.gz", "rt") as file:
            found = [entry for entry in json.load(file) if "segmentation" in entry]
        assert sum(coco_mask.area(entry["segmentation"]) > 0 for entry in found) > 5, folder
        if (folder / "train.json").exists():
            record = read(folder / "train.json")
            assert metrics["checkpoint_sha256"] == record["checkpoint_sha256"] and record["data_digest"] == digest


def test_mlflow_has_every_training_with_the_values_of_the_files(project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("contrastmask/smoke")
    assert experiment is not None
    every = client.search_runs([experiment.experiment_id], max_results=1000)
    shown = [run for run in every if run.info.run_name != "tables and figures"]
    assert len(shown) == len(runs(project)) == len(every) - 1
    for run in shown:
        assert run.info.status == "FINISHED" and run.data.params["seed"] == "0" and run.data.tags["table_rows"]
        folder = seed_folder(project, run.data.params["run"])
        for subset, values in read(folder / "metrics.json")["segm"].items():
            for metric, value in values.items():
                assert run.data.metrics.get(f"segm/{subset}/{metric}") == value
        if "detector" in run.data.params:
            continue
        record = read(folder / "train.json")
        assert run.data.tags["config.hash"] == record["config_hash"]
        assert run.data.tags["checkpoint.sha256"] == record["checkpoint_sha256"]
        assert {d.dataset.digest for d in run.inputs.dataset_inputs} == {record["data_digest"]}
        curve = client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in curve] == list(range(1, record["iterations"] + 1))


def test_grabcut_shares_the_boxes_of_its_detector_and_has_masks_of_its_own(project: Path) -> None:
    derived = [folder for folder in runs(project) if folder.parent.name.startswith("mask-grabcut")]
    assert derived
    for folder in derived:
        detector = seed_folder(project, folder.parent.name.replace("mask-grabcut", "mask-rcnn"))
        ours, baseline = (read(each / "metrics.json") for each in (folder, detector))
        assert ours["bbox"] == baseline["bbox"] and ours["checkpoint_sha256"] == baseline["checkpoint_sha256"]
        assert ours["gt_box_miou"]["novel"] != baseline["gt_box_miou"]["novel"]


def test_nothing_is_left_to_do(project: Path) -> None:
    done = snakemake(project, "-n", *tables(project))
    assert "Nothing to be done" in done.stdout + done.stderr


# ---------------------------------------------------------------------------- all tables


@pytest.mark.slow
def test_snakemakes_own_report_shows_the_tables(smoke: Path, tmp_path: Path) -> None:
    done = snakemake(smoke, "--report", str(tmp_path / "report.zip"))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "report.zip") as report:
        shown = {Path(name).name for name in report.namelist()}
        page = report.read("report/report.html").decode()
    assert {f"table{n}.html" for n in range(1, 8)} <= shown
    assert "means over the finished seeds" in page  # workflow/report/tables.rst


@pytest.mark.slow
def test_rows_and_printed_numbers_are_the_papers_and_every_row_is_a_run(smoke: Path) -> None:
    """All 38 lines of Table 1 among them; nothing is copied."""
    printed = pd.read_csv(ROOT / "configs" / "paper" / "paper_tables.csv", keep_default_na=False, dtype=str)
    keys = ["table", "setting", "method", "variant", "backbone", "schedule", "mask_layers"]
    ours = pd.concat([frame(smoke, f"table{n}") for n in range(1, 8)], ignore_index=True)
    assert len(ours) == len(printed) == 56
    merged = ours.merge(printed, on=keys, suffixes=("", "_printed"))
    assert len(merged) == 56
    assert pd.to_numeric(merged["paper_AP"]).equals(pd.to_numeric(merged["mAP"]))
    assert set(ours["scale"]) == {"smoke"} and set(ours["status"]) == {"ok"}
    assert (len(runs(smoke)), len(list((smoke / "results" / "smoke" / "runs").glob("*/seed0/model.pth")))) == (54, 50)


@pytest.mark.slow
def test_runs_that_are_done_are_compared_and_no_longer_planned(smoke: Path) -> None:
    assert "54 done" in said(smoke, "plan") and "to do" not in said(smoke, "plan")
    pair = ["mask-rcnn_r50_1x_nonvoc2voc", MAIN]
    assert all(run in said(smoke, "compare", *pair, "--resamples", "100") for run in pair)


def said(project: Path, *arguments: str) -> str:
    """What `contrastmask` prints."""
    command = [sys.executable, "-m", "contrastmask", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_report_has_every_table_every_run_and_both_figures(smoke: Path) -> None:
    for target in ("claims", "report"):  # claims train one run more, which the report then shows
        done = snakemake(smoke, target)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (smoke / "results" / "smoke" / "report" / "index.html").read_text()
    for number in range(1, 8):
        assert f'id="table{number}"' in page
    assert all(folder.parent.name in page for folder in runs(smoke))
    assert page.count("data:image/") >= 2 and "mean nothing" in page and 'id="claims"' in page
    claims = pd.read_csv(smoke / "results" / "smoke" / "claims.csv", keep_default_na=False)
    of_the_paper = yaml.safe_load((ROOT / "configs" / "claims.yaml").read_text())["claims"]
    assert {claim["text"] for claim in of_the_paper} <= {text.split(" (base")[0] for text in claims["claim"]}
    assert set(claims["scale"]) == {"smoke"}
    assert set(claims["verdict"]) <= {"supported", "contradicted", "inconclusive", "not measured", "not run"}


@pytest.mark.slow
def test_new_tables_train_only_what_is_new(smoke: Path) -> None:
    """The README's own ablation, and GrabCut's sensitivity, which reads the baseline that is there."""
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example is not None
    (smoke / "configs" / "tables" / "table8.yaml").write_text(example[1])
    before = {path: path.stat().st_mtime_ns for path in smoke.glob("results/smoke/runs/*/seed0/model.pth")}
    done = snakemake(smoke, "table8", "grabcut-sensitivity")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())
    assert len(list(smoke.glob("results/smoke/runs/*/seed0/model.pth"))) == len(before) + 2
    ours = frame(smoke, "table8")
    assert list(ours["variant"]) == ["delta=0.05", "delta=0.1", "delta=0.2"] and set(ours["paper_AP"]) == {""}
    assert set(ours["status"]) == set(frame(smoke, "grabcut-sensitivity")["status"]) == {"ok"}


def losses_are_complete(folder: Path) -> None:
    """A point for each iteration, once; one run in the curves file."""
    events = [event for event, _ in read_events(folder / "curves.jsonl")]
    steps = [event["step"] for event in events if event["event"] == "metrics" and "train/loss" in event["values"]]
    assert steps == list(range(1, read(folder / "train.json")["iterations"] + 1))
    assert sum(event["event"] == "run" for event in events) == 1


@pytest.mark.slow
def test_a_stopped_snakemake_goes_on_by_the_same_command(smoke: Path, tmp_path: Path) -> None:
    """Ctrl-C, which reaches the whole process group: same table, same weights bit by bit. Of SIGKILL: tests/faults."""
    import torch

    again = fresh_project(tmp_path)
    shutil.copytree(smoke / "results" / "smoke" / "data", again / "results" / "smoke" / "data")
    order = [sys.executable, "-m", "snakemake", "--cores", "2", "table7"]
    with subprocess.Popen(order, cwd=again, start_new_session=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as first:  # fmt: skip
        while not list(again.glob("results/smoke/runs/*/seed0/work/iter_*.pth")):
            time.sleep(0.05)
            assert first.poll() is None
        os.killpg(first.pid, signal.SIGINT)
    assert first.returncode != 0
    done = snakemake(again, "table7")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert frame(again, "table7").equals(frame(smoke, "table7"))
    for folder in runs(again):
        losses_are_complete(folder)
        undisturbed, resumed = (
            torch.load(each / "model.pth", weights_only=True)["state_dict"]
            for each in (seed_folder(smoke, folder.parent.name), folder)
        )
        assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


@pytest.mark.slow
def test_real_photos_go_through_the_chain(smoke: Path, shared_dir: Path) -> None:
    """A COCO-format folder of photos: verified, split, trained for a few iterations, evaluated, tabled."""
    scale = yaml.safe_load((ROOT / "configs" / "scales" / "coco-mini.yaml").read_text())
    scale |= {"name": "photos", "one_x": {"iterations": 6}, "checkpoint_every": 3, "width": 0.125}
    (smoke / "configs" / "scales" / "photos.yaml").write_text(yaml.safe_dump(scale))
    done = snakemake(
        smoke, "table7", "--config", "scale=photos", f"data_root={shared_dir / 'coco-mini'}", "tables=[table7]"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = pd.read_csv(smoke / "results" / "photos" / "tables" / "table7.csv")
    assert list(table["status"]) == ["ok", "ok"] and list(table["scale"]) == ["photos", "photos"]
