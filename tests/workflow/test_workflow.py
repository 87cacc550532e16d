"""The graph: what Snakemake would do, and what it says when something is wrong. Nothing is trained here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs by rule of a dry run."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^([\w-]+)\s+(\d+)$", done.stdout + done.stderr, re.M)
    return {rule: int(count) for rule, count in rows}


def copy_project(folder: Path) -> Path:
    """A copy of the project's workflow in an empty folder."""
    folder.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "profiles", "configs", "contrastmask"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


def test_all_tables_need_50_trainings(project: Path) -> None:
    jobs = planned(snakemake("-n", cwd=project))
    assert (jobs["dataset"], jobs["split"], jobs["train"], jobs["evaluate"], jobs["grabcut"]) == (1, 2, 50, 50, 4)
    assert all(jobs[f"table{n}"] == 1 for n in range(1, 8))


def test_the_report_needs_the_wanted_tables_and_the_figures_of_their_runs(project: Path) -> None:
    jobs = planned(snakemake("-n", "report", cwd=project))
    assert {"report", "figure6", "figure7", "table1", "table7"} <= set(jobs)
    one = planned(snakemake("-n", "report", "--config", "tables=[table5]", cwd=project))
    assert (one["report"], one["table5"], one["train"], one["figure7"]) == (1, 1, 3, 1)  # Figure 7 is of the main run
    assert not {"figure6", "table2"} & set(one)


def test_shape_priors_are_made_once_for_a_setting_and_only_for_shapemask(project: Path) -> None:
    runs = [f"shapemask_r101_{run}" for run in ("1x_nonvoc2voc", "3x_nonvoc2voc_neck-nas-fpn", "1x_voc2nonvoc")]
    models = [f"results/smoke/runs/{run}/seed0/model.pth" for run in runs]
    done = snakemake("-n", *models, cwd=project)
    assert (planned(done)["train"], planned(done)["shape_priors"]) == (3, 2)
    output = done.stdout + done.stderr
    assert output.index("shape priors: nonvoc2voc") < output.index("Training shapemask_r101_1x_nonvoc2voc")
    assert "shape_priors" not in planned(snakemake("-n", "table5", cwd=project))


def test_one_table_needs_only_its_own_trainings(project: Path) -> None:
    jobs = planned(snakemake("-n", "table5", cwd=project))
    assert (jobs["train"], jobs["table5"], jobs["split"]) == (3, 1, 1)
    assert "table1" not in jobs


def test_a_table_of_grabcut_rows_brings_the_training_of_the_detector(project: Path) -> None:
    done = snakemake("-n", "grabcut-sensitivity", "--config", "seeds=[0,1]", cwd=project)
    jobs = planned(done)
    assert (jobs["train"], jobs["evaluate"], jobs["grabcut"]) == (2, 2, 10)
    assert "Training mask-rcnn_r50_1x_nonvoc2voc, seed 1" in done.stdout + done.stderr


def test_seeds_multiply_trainings(project: Path) -> None:
    assert planned(snakemake("-n", "table7", "--config", "seeds=[0,1,2]", cwd=project))["train"] == 6


def test_a_new_ablation_is_one_file(project: Path) -> None:
    table = {
        "title": "Threshold of the CAM",
        "caption": "How sure the CAM must be.",
        "base": {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"},
        "rows": [{"label": f"delta={d}", "options": {"delta": d}} for d in (0.05, 0.1, 0.2)],
    }
    (project / "configs" / "tables" / "table8.yaml").write_text(yaml.safe_dump(table))
    jobs = planned(snakemake("-n", "table8", cwd=project))
    assert (jobs["train"], jobs["table8"]) == (3, 1)
    wanted = "tables=[table7,table8]"  # the row delta=0.1 is the main run, and in both
    assert planned(snakemake("-n", "--config", wanted, cwd=project))["train"] == 4
    assert "table8" not in planned(snakemake("-n", cwd=project))  # Tables 1-7, unless more is asked for


def test_only_upper_bounds_read_novel_masks(project: Path) -> None:
    assert "all_masks" not in planned(snakemake("-n", cwd=project))
    jobs = planned(snakemake("-n", "gt-prior", cwd=project))
    assert (jobs["train"], jobs["split"], jobs["all_masks"]) == (6, 2, 2)
    for run, expected in (("", 0), ("_novel_masks-keys", 1), ("_novel_masks-all", 1)):
        weights = f"results/smoke/runs/contrastmask-paper_r50_1x_voc2nonvoc{run}/seed0/model.pth"
        assert planned(snakemake("-n", weights, cwd=project)).get("all_masks", 0) == expected


def test_a_moved_project_is_not_made_again(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    split = "results/smoke/data/nonvoc2voc/split.json"
    assert snakemake(split, cwd=project).returncode == 0
    moved = Path(shutil.move(project, tmp_path_factory.mktemp("moved") / "project"))
    again = snakemake("-n", split, cwd=moved)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_paper_scale_fetches_weights_once_per_backbone(project: Path) -> None:
    done = snakemake("-n", "--config", "scale=paper", "data_root=/data/coco", "gpus_per_run=8", cwd=project)
    jobs = planned(done)
    assert (jobs["weights"], jobs["train"]) == (4, 50)


def test_the_slurm_profile_plans_the_same_jobs_for_many_gpus(project: Path) -> None:
    """The default profile's 8 GPUs are one machine's: on a cluster a run may have more, and several run at once."""
    changes = ("scale=paper", "data_root=/data/coco", "gpus_per_run=8")
    done = snakemake("-n", "table7", "--profile", "profiles/slurm", "--config", *changes, cwd=project)
    assert planned(done)["train"] == 2
    assert "profiles/slurm and workflow specific profile profiles/default" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sede=3"], ["sede", "seeds"]),  # more such: tests/config/test_experiment.py
        (["tables=[table77]"], ["table77"]),
        (["images_per_gpu=1"], ["images_per_gpu=1", "query groups of 2"]),
    ],
)
def test_a_mistake_stops_before_any_work_with_one_message(
    project: Path, arguments: list[str], words: list[str]
) -> None:
    done = snakemake("--config", *arguments, cwd=project)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert all(word in output for word in words), output
    assert "Traceback" not in output
    assert not (project / "results").exists()


def test_an_unknown_key_in_a_table_file_names_file_and_key(project: Path) -> None:
    path = project / "configs" / "tables" / "table4.yaml"
    path.write_text(path.read_text().replace("caption:", "capton:"))
    output = snakemake("-n", cwd=project)
    assert output.returncode != 0
    assert "table4.yaml" in output.stdout + output.stderr and "capton" in output.stdout + output.stderr


def test_a_lock_left_by_a_killed_snakemake_does_not_stop_the_next(project: Path) -> None:
    locks = project / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    output = str(project / "results" / "smoke" / "data" / "dataset.json")
    (locks / "0.output.lock").write_text(output + "\n")
    assert snakemake("results/smoke/data/dataset.json", cwd=project).returncode == 0


def test_two_snakemakes_in_one_folder_do_not_work_at_once(project: Path) -> None:
    slow = project / "configs" / "scales" / "smoke.yaml"
    slow.write_text(slow.read_text().replace("train_images: 32", "train_images: 6000"))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "results/smoke/data/dataset.json"]
    with subprocess.Popen(
        command, cwd=project, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        while not list((project / ".snakemake").glob("locks/*")):
            time.sleep(0.1)
            assert first.poll() is None
        second = snakemake("results/smoke/data/dataset.json", cwd=project)
        os.killpg(first.pid, signal.SIGKILL)  # with its job, which nobody waits for
    assert second.returncode != 0
    assert "lock" in (second.stdout + second.stderr).lower()


def test_data_is_verified_and_a_bad_annotation_stops_everything(project: Path, tmp_path: Path) -> None:
    assert snakemake("results/smoke/data/dataset.json", cwd=project).returncode == 0
    data = project / "results" / "smoke" / "data" / "synthetic"
    train = data / "annotations" / "instances_train.json"
    content = json.loads(train.read_text())
    content["annotations"][0]["category_id"] = 12345
    train.write_text(json.dumps(content))
    scale = (project / "configs" / "scales" / "coco-mini.yaml").read_text()
    (project / "configs" / "scales" / "mine.yaml").write_text(scale.replace("name: coco-mini", "name: mine"))
    done = snakemake("table2", "--config", "scale=mine", f"data_root={data}", cwd=project)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "12345" in output and "instances_train.json" in output
    assert not (project / "results" / "mine" / "runs").exists()


def test_one_file_of_first_weights_serves_all_runs_of_a_scale(project: Path) -> None:
    photos = planned(snakemake("-n", "table2", "--config", "scale=coco-mini", "data_root=/nowhere", cwd=project))
    assert photos["weights"] == 1


def test_the_prior_is_looked_at_where_there_is_one(project: Path) -> None:
    jobs = planned(snakemake("-n", "prior", "--config", "tables=[table2]", "seeds=[0,1]", cwd=project))
    assert (jobs["diagnose"], jobs["train"], jobs["prior"]) == (4, 4, 1)  # not of the baseline


def test_claims_beyond_the_paper_train_nothing(project: Path) -> None:
    done = snakemake("-n", "claims", cwd=project)
    assert planned(done)["claims"] == 1
    assert "cl_loss-off" not in done.stdout + done.stderr
