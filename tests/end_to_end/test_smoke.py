"""The whole chain as a user runs it, at smoke scale, in an empty copy of the project."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from end_to_end.chain import ROOT, fresh_project, snakemake

from contrastmask.config.options import METHODS, SystemOptions
from contrastmask.data.shape_priors import read_priors

MAIN = "contrastmask-paper_r50_1x_nonvoc2voc"
METRICS = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tables 1-7 made from nothing."""
    folder = fresh_project(tmp_path_factory.mktemp("smoke"))
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    (folder / "output.txt").write_text(done.stdout)
    yield folder


def frame(project: Path, table: str) -> pd.DataFrame:
    return pd.read_csv(project / "results" / "smoke" / "tables" / f"{table}.csv", keep_default_na=False, dtype=str)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def seed_folder(project: Path, run: str = MAIN) -> Path:
    return project / "results" / "smoke" / "runs" / run / "seed0"


def test_every_table_is_there_in_four_formats_and_is_printed(project: Path) -> None:
    output = (project / "output.txt").read_text()
    for number in range(1, 8):
        for suffix in ("csv", "md", "html", "tex"):
            assert (project / "results" / "smoke" / "tables" / f"table{number}.{suffix}").stat().st_size > 0
        assert (project / "results" / "smoke" / "tables" / f"table{number}.md").read_text() in output


def test_rows_and_printed_numbers_are_the_papers(project: Path) -> None:
    printed = pd.read_csv(ROOT / "configs" / "paper" / "paper_tables.csv", keep_default_na=False, dtype=str)
    keys = ["table", "setting", "method", "variant", "backbone", "schedule", "mask_layers"]
    ours = pd.concat([frame(project, f"table{n}") for n in range(1, 8)], ignore_index=True)
    assert len(ours) == len(printed) == 56
    merged = ours.merge(printed, on=keys, suffixes=("", "_printed"))
    assert len(merged) == 56
    assert pd.to_numeric(merged["paper_AP"]).equals(pd.to_numeric(merged["mAP"]))


def test_every_row_is_a_run_with_numbers(project: Path) -> None:
    """All 38 lines of Table 1 among them; nothing is copied."""
    tables = pd.concat([frame(project, f"table{number}") for number in range(1, 8)])
    assert set(tables["scale"]) == {"smoke"}
    assert set(tables["status"]) == {"ok"}
    assert all(tables["run"] != "") and all(tables["AP"] != "")
    rebuilt = tables[tables["note"] == "reconstruction"]
    assert set(rebuilt["method"]) == {"CPMask", "Mask GrabCut"} and len(rebuilt) == 8
    assert "reconstruction" in (project / "results" / "smoke" / "tables" / "table1.md").read_text()


def test_a_tables_number_is_the_runs_number(project: Path) -> None:
    for number in range(1, 8):
        for _, row in frame(project, f"table{number}").iterrows():
            if row["run"]:
                measured = read(seed_folder(project, row["run"]) / "metrics.json")["segm"]["novel"]
                for metric in METRICS:
                    ours = float(row[metric]) if row[metric] else None
                    expected = None if measured[metric] is None else pytest.approx(100 * measured[metric])
                    assert ours == expected


def test_smoke_tables_say_that_they_mean_nothing(project: Path) -> None:
    for suffix in ("md", "html", "tex"):
        assert "mean nothing" in (project / "results" / "smoke" / "tables" / f"table2.{suffix}").read_text()


def test_metrics_are_complete_and_lie_in_their_range(project: Path) -> None:
    metrics = read(seed_folder(project) / "metrics.json")
    for kind in ("segm", "bbox"):
        for subset in ("novel", "base", "all"):
            assert set(metrics[kind][subset]) == set(METRICS)
            assert all(v is None or 0 <= v <= 1 for v in metrics[kind][subset].values())
    assert 0 < metrics["gt_box_miou"]["novel"] <= 1
    assert len(metrics["per_category"]) == 8
    record = read(seed_folder(project) / "train.json")
    assert metrics["checkpoint_sha256"] == record["checkpoint_sha256"]
    assert (
        metrics["data_digest"] == record["data_digest"] == read(project / "results/smoke/data/dataset.json")["digest"]
    )


def test_mlflow_has_every_training_with_the_values_of_the_files(project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'results' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("contrastmask/smoke")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    trained = [run for run in runs if "detector" not in run.data.params]
    assert (len(runs), len(trained)) == (51, 47)
    for run in trained:
        assert run.info.status == "FINISHED"
        folder = seed_folder(project, run.data.params["run"])
        metrics, record = read(folder / "metrics.json"), read(folder / "train.json")
        for subset in ("novel", "base", "all"):
            for metric, value in metrics["segm"][subset].items():
                assert run.data.metrics.get(f"segm/{subset}/{metric}") == value
        assert run.data.tags["config.hash"] == record["config_hash"]
        assert run.data.tags["checkpoint.sha256"] == record["checkpoint_sha256"]
        assert run.data.tags["table_rows"]
        assert run.data.params["seed"] == "0"
        assert {d.dataset.digest for d in run.inputs.dataset_inputs} == {record["data_digest"]}
        curve = client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in curve] == list(range(1, record["iterations"] + 1))


def test_grabcut_shares_the_boxes_of_its_detector_and_has_masks_of_its_own(project: Path) -> None:
    for backbone in ("r50", "r101"):
        for setting in ("nonvoc2voc", "voc2nonvoc"):
            run = f"{backbone}_1x_{setting}"
            ours, baseline = (read(seed_folder(project, f"{m}_{run}") / "metrics.json") for m in
                              ("mask-grabcut", "mask-rcnn"))  # fmt: skip
            assert ours["bbox"] == baseline["bbox"]
            assert ours["checkpoint_sha256"] == baseline["checkpoint_sha256"]
            assert ours["gt_box_miou"]["novel"] != baseline["gt_box_miou"]["novel"]


def test_the_report_has_every_table_every_run_and_both_figures(project: Path) -> None:
    for target in ("claims", "report"):  # claims train one run more, which the report then shows
        done = snakemake(project, target)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    page = (project / "results" / "smoke" / "report" / "index.html").read_text()
    for number in range(1, 8):
        assert f'id="table{number}"' in page
    for metrics in (project / "results" / "smoke" / "runs").glob("*/seed0/metrics.json"):
        assert read(metrics)["run"] in page
    assert page.count("data:image/") >= 2 and "mean nothing" in page
    assert 'id="claims"' in page and page.count('class="comparison"') == 2  # the steps of Table 2
    claims = pd.read_csv(project / "results" / "smoke" / "claims.csv", keep_default_na=False)
    of_the_paper = yaml.safe_load((ROOT / "configs" / "claims.yaml").read_text())["claims"]
    assert {claim["text"] for claim in of_the_paper} <= {text.split(" (base")[0] for text in claims["claim"]}
    assert set(claims["scale"]) == {"smoke"}
    assert set(claims["verdict"]) <= {"supported", "contradicted", "inconclusive", "not measured", "not run"}


def test_runs_that_are_done_are_compared_and_no_longer_planned(project: Path) -> None:
    plan = subprocess.run([sys.executable, "-m", "contrastmask", "plan"], cwd=project, capture_output=True, text=True)
    assert plan.returncode == 0 and "51 done." in plan.stdout and "to do" not in plan.stdout, plan.stdout + plan.stderr
    pair = ["mask-rcnn_r50_1x_nonvoc2voc", MAIN]
    compared = subprocess.run(
        [sys.executable, "-m", "contrastmask", "compare", *pair, "--resamples", "100"],
        cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    assert all(run in compared.stdout for run in pair)


def test_the_sensitivity_of_grabcut_reads_the_baseline_that_is_there(project: Path) -> None:
    done = snakemake(project, "grabcut-sensitivity")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert set(frame(project, "grabcut-sensitivity")["status"]) == {"ok"}


def test_nothing_is_left_to_do(project: Path) -> None:
    done = snakemake(project, "-n")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_new_ablation_is_one_file_and_trains_only_what_is_new(project: Path) -> None:
    """The README's own example."""
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example is not None
    (project / "configs" / "tables" / "table8.yaml").write_text(example[1])
    before = (seed_folder(project) / "model.pth").stat().st_mtime_ns
    done = snakemake(project, "table8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (seed_folder(project) / "model.pth").stat().st_mtime_ns == before
    ours = frame(project, "table8")
    assert list(ours["variant"]) == ["delta=0.05", "delta=0.1", "delta=0.2"]
    assert set(ours["status"]) == {"ok"} and set(ours["paper_AP"]) == {""}


def settings(project: Path, **changes: object) -> str:
    return json.dumps({"results": str(project / "results")} | changes)


def command(verb: str, project: Path, run: str, **changes: object) -> list[str]:
    arguments = ["--run", run, "--seed", "0", "--settings", settings(project, **changes)]
    return [sys.executable, "-m", "contrastmask", verb, *arguments]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_stopped_training_goes_on_and_ends_as_if_undisturbed(
    project: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """Same weights, bit by bit, one MLflow run, no point twice."""
    results = tmp_path / "results"
    shutil.copytree(project / "results" / "smoke" / "data", results / "smoke" / "data")
    folder = results / "smoke" / "runs" / MAIN / "seed0"
    train = command("train", tmp_path, MAIN)
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    with subprocess.Popen(train, cwd=project, env=environment) as first:
        while not list(folder.glob("work/iter_*.pth")):
            time.sleep(0.05)
            assert first.poll() is None
        first.send_signal(how)
    assert not (folder / "model.pth").exists()
    assert first.returncode == (-9 if how == signal.SIGKILL else 128 + how)
    again = subprocess.run(train, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on from iteration" in again.stdout

    import torch

    undisturbed = torch.load(seed_folder(project) / "model.pth", weights_only=True)["state_dict"]
    resumed = torch.load(folder / "model.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)
    events = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in events if event["event"] == "metrics" and "train/loss" in event["values"]]
    assert steps == sorted(set(steps)) == list(range(1, len(steps) + 1))
    assert sum(event["event"] == "run" for event in events) == 1
    subprocess.run([sys.executable, "-m", "contrastmask.tracking.tracking", "sync", "--results", str(results)],
                   cwd=project, env=environment, check=True)  # fmt: skip
    from mlflow import MlflowClient

    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert [p.step for p in client.get_metric_history(runs[0].info.run_id, "train/loss")] == steps


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_snakemake_goes_on_by_the_same_command(project: Path, tmp_path: Path, how: signal.Signals) -> None:
    """SIGKILL leaves a lock and a training without parent; Ctrl-C reaches the whole process group."""
    again = fresh_project(tmp_path)
    shutil.copytree(project / "results" / "smoke" / "data", again / "results" / "smoke" / "data")
    order = [sys.executable, "-m", "snakemake", "--cores", "2", "table7"]
    with subprocess.Popen(order, cwd=again, start_new_session=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as first:  # fmt: skip
        while not list(again.glob("results/smoke/runs/*/seed0/work/iter_*.pth")):
            time.sleep(0.05)
            assert first.poll() is None
        if how == signal.SIGKILL:
            first.kill()
        else:
            os.killpg(first.pid, how)
    assert first.returncode != 0
    done = snakemake(again, "table7")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert frame(again, "table7").equals(frame(project, "table7"))
    for folder in again.glob("results/smoke/runs/*/seed0"):
        events = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
        steps = [event["step"] for event in events if event["event"] == "metrics" and "train/loss" in event["values"]]
        assert steps == list(range(1, read(folder / "train.json")["iterations"] + 1))


SYSTEMS = [
    MAIN,
    "mask-rcnn_r50_1x_nonvoc2voc",
    "maskx-rcnn_r50_1x_nonvoc2voc",
    "opmask_r50_130k_nonvoc2voc",
    "shapeprop_r50_1x_nonvoc2voc",
    "shapemask_r101_1x_nonvoc2voc",
    "cpmask_r50_1x_nonvoc2voc",
    "deep-marc_r50_1x_nonvoc2voc_recipe-common",
]


def test_the_leak_test_knows_every_system() -> None:
    trained = {name for name, options in METHODS.items() if issubclass(options, SystemOptions)}
    assert {run.partition("_")[0].removesuffix("-paper") for run in SYSTEMS} == trained


@pytest.mark.parametrize("run", SYSTEMS)
def test_scrambled_novel_masks_change_nothing(project: Path, tmp_path: Path, run: str) -> None:
    """Novel polygons scrambled before the split: training losses and weights are bit-identical."""
    results = tmp_path / "results"
    data = results / "smoke" / "data"
    shutil.copytree(project / "results" / "smoke" / "data" / "synthetic", data / "synthetic")
    novel = set(read(project / "results" / "smoke" / "data" / "nonvoc2voc" / "split.json")["novel"])
    source = data / "synthetic" / "annotations" / "instances_train.json"
    content, scrambled = read(source), 0
    for annotation in content["annotations"]:
        if annotation["category_id"] in novel and not annotation["iscrowd"]:
            x, y, w, h = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + w / 3, y, x, y + h / 3]]
            scrambled += 1
    assert scrambled > 50
    source.write_text(json.dumps(content))
    python = [sys.executable, "-m"]
    scale = {"kind": "folder"}
    subprocess.run([*python, "contrastmask.data.dataset", "--config", json.dumps(scale), "--root",
                    str(data / "synthetic"), "--out", str(data / "dataset.json")], cwd=project, check=True)  # fmt: skip
    subprocess.run([*python, "contrastmask.data.splits", "--dataset", str(data / "dataset.json"), "--setting",
                    "nonvoc2voc", "--out", str(data / "nonvoc2voc")], cwd=project, check=True)  # fmt: skip
    if run.startswith("shapemask"):
        make_priors(data / "nonvoc2voc", project)
    if not (seed_folder(project, run) / "train.json").exists():  # no row of Tables 1-7
        done = snakemake(project, f"results/smoke/runs/{run}/seed0/train.json")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    subprocess.run(command("train", tmp_path, run), cwd=project, env=environment, check=True)
    losses, curves = [], []
    for folder in (seed_folder(project, run), results / "smoke" / "runs" / run / "seed0"):
        losses.append(read(folder / "train.json")["losses"])
        events = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
        curves.append([e["values"] for e in events if e["event"] == "metrics" and "train/loss" in e["values"]])
    assert losses[0] == losses[1]
    assert curves[0] == curves[1]
    assert len(curves[0]) > 5


def make_priors(split: Path, project: Path) -> None:
    out = split / "shape_priors-K100-a1024.npz"
    arguments = ["--annotations", str(split / "instances_train.json"), "--split", str(split / "split.json")]
    arguments += ["--priors", "100", "--min-area", "1024", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "contrastmask.data.shape_priors", *arguments], cwd=project, check=True)
    made = project / "results" / "smoke" / "data" / "nonvoc2voc" / out.name
    assert np.array_equal(read_priors(out), read_priors(made))


def test_real_photos_go_through_the_chain(project: Path, shared_dir: Path, tmp_path: Path) -> None:
    """A COCO-format folder of photos: verified, split, trained for a few iterations, evaluated, tabled."""
    scale = yaml.safe_load((ROOT / "configs" / "scales" / "coco-mini.yaml").read_text())
    scale |= {"name": "photos", "one_x": {"iterations": 6}, "checkpoint_every": 3, "width": 0.125}
    (project / "configs" / "scales" / "photos.yaml").write_text(yaml.safe_dump(scale))
    done = snakemake(
        project, "table7", "--config", "scale=photos", f"data_root={shared_dir / 'coco-mini'}", "tables=[table7]"
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = pd.read_csv(project / "results" / "photos" / "tables" / "table7.csv")
    assert list(table["status"]) == ["ok", "ok"]
    assert list(table["scale"]) == ["photos", "photos"]
