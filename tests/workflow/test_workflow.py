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
from end_to_end.chain import fresh_project, snakemake


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs by rule of a dry run."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^([\w-]+)\s+(\d+)$", done.stdout + done.stderr, re.M)
    return {rule: int(count) for rule, count in rows}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return fresh_project(tmp_path)


@pytest.fixture(scope="module")
def unmade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is only planned in."""
    return fresh_project(tmp_path_factory.mktemp("unmade"))


def of(run: str) -> str:
    return f"results/smoke/runs/{run}/seed0/model.pth"


SHAPEMASK = [of(f"shapemask_r101_{run}") for run in ("1x_nonvoc2voc", "3x_nonvoc2voc_neck-nas-fpn", "1x_voc2nonvoc")]
OURS = "contrastmask-paper_r50_1x_voc2nonvoc"
PAPER = ["scale=paper", "data_root=/data/coco", "gpus_per_run=8"]
PLANS: dict[str, tuple[list[str], list[str], dict[str, int]]] = {  # targets, settings, jobs by rule
    "all tables": (
        [], [],
        {"dataset": 1, "split": 2, "train": 50, "evaluate": 50, "grabcut": 4, "all_masks": 0}
        | {f"table{n}": 1 for n in range(1, 8)},
    ),
    "one table": (["table5"], [], {"train": 3, "table5": 1, "split": 1, "table1": 0, "shape_priors": 0}),
    "the report of all tables": (["report"], [], {"report": 1, "figure6": 1, "figure7": 1, "table1": 1, "table7": 1}),
    # Figure 7 is of the main run
    "the report of one table": (
        ["report"], ["tables=[table5]"],
        {"report": 1, "table5": 1, "train": 3, "figure7": 1, "figure6": 0, "table2": 0},
    ),
    "shape priors once for a setting": (SHAPEMASK, [], {"train": 3, "shape_priors": 2}),
    "GrabCut's detector with each seed": (
        ["grabcut-sensitivity"], ["seeds=[0,1]"], {"train": 2, "evaluate": 2, "grabcut": 10},
    ),
    "upper bounds alone read novel masks": (["gt-prior"], [], {"train": 6, "split": 2, "all_masks": 2}),
    "not the method itself": ([of(OURS)], [], {"train": 1, "all_masks": 0}),
    "as keys": ([of(f"{OURS}_novel_masks-keys")], [], {"train": 1, "all_masks": 1}),
    "as masks": ([of(f"{OURS}_novel_masks-all")], [], {"train": 1, "all_masks": 1}),
    "weights once for a backbone": ([], PAPER, {"weights": 4, "train": 50}),
    "first weights once for a scale": (["table2"], ["scale=coco-mini", "data_root=/nowhere"], {"weights": 1}),
    "the prior, not of the baseline": (
        ["prior"], ["tables=[table2]", "seeds=[0,1]"], {"diagnose": 4, "train": 4, "prior": 1},
    ),
    "claims train what the paper states, nothing beyond": (["claims"], [], {"claims": 1, "train": 15}),
}  # fmt: skip


@pytest.mark.parametrize(("targets", "changes", "jobs"), PLANS.values(), ids=PLANS)
def test_the_plan(unmade: Path, targets: list[str], changes: list[str], jobs: dict[str, int]) -> None:
    found = planned(snakemake(unmade, "-n", *targets, *(["--config", *changes] if changes else [])))
    assert {rule: found.get(rule, 0) for rule in jobs} == jobs


def test_a_new_ablation_is_one_file(project: Path) -> None:
    table = {
        "title": "Threshold of the CAM",
        "caption": "How sure the CAM must be.",
        "base": {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"},
        "rows": [{"label": f"delta={d}", "options": {"delta": d}} for d in (0.05, 0.1, 0.2)],
    }
    (project / "configs" / "tables" / "table8.yaml").write_text(yaml.safe_dump(table))
    jobs = planned(snakemake(project, "-n", "table8"))
    assert (jobs["train"], jobs["table8"]) == (3, 1)
    wanted = "tables=[table7,table8]"  # the row delta=0.1 is the main run, and in both
    assert planned(snakemake(project, "-n", "--config", wanted))["train"] == 4
    assert "table8" not in planned(snakemake(project, "-n"))  # Tables 1-7, unless more is asked for


def test_a_moved_project_is_not_made_again(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    split = "results/smoke/data/nonvoc2voc/split.json"
    assert snakemake(project, split).returncode == 0
    moved = Path(shutil.move(project, tmp_path_factory.mktemp("moved") / "project"))
    again = snakemake(moved, "-n", split)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_slurm_profile_plans_the_same_jobs_for_many_gpus(unmade: Path) -> None:
    """The default profile's 8 GPUs are one machine's: on a cluster a run may have more, and several run at once."""
    done = snakemake(unmade, "-n", "table7", "--profile", "profiles/slurm", "--config", *PAPER)
    assert planned(done)["train"] == 2
    assert "profiles/slurm and workflow specific profile profiles/default" in done.stderr


def test_the_slurm_profile_asks_for_memory_and_time_of_each_rule(project: Path) -> None:
    for file in (project / "workflow" / "rules").glob("*.smk"):  # a message hides what a dry run says of resources
        file.write_text(re.sub(r"^ +message:\n.*\n", "", file.read_text(), flags=re.M))
    targets = ("table7", "prior", "grabcut-sensitivity")
    done = snakemake(project, "-n", *targets, "--profile", "profiles/slurm", "--config", *PAPER)
    asked: dict[str, dict[str, str]] = {}
    for rule, resources in re.findall(r"^(?:local)?rule (\S+):\n(?:    .*\n)*?    resources: (.*)$", done.stdout, re.M):
        asked[rule] = dict(item.split("=") for item in resources.split(", "))
    assert {rule for rule, r in asked.items() if "gpu" in r} == {"train", "evaluate", "diagnose"}
    assert (asked["train"]["mem_mb_per_cpu"], asked["train"]["runtime"], asked["train"]["gpu"]) == ("8000", "1440", "8")
    for rule, resources in asked.items():
        assert {"runtime", "nodes"} <= resources.keys() and {"mem_mb", "mem_mb_per_cpu"} & resources.keys(), rule
    profile = yaml.safe_load((project / "profiles" / "slurm" / "profile.yaml").read_text())
    assert set(profile["set-resources"]) <= asked.keys() | {"all_masks"}


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
    done = snakemake(project, "--config", *arguments)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert all(word in output for word in words), output
    assert "Traceback" not in output
    assert not (project / "results").exists()


def test_a_seed_has_one_folder(unmade: Path) -> None:
    done = snakemake(unmade, "-n", of(OURS).replace("seed0", "seed007"))
    assert done.returncode != 0 and "seed007" in done.stdout + done.stderr


def test_a_lock_left_by_a_killed_snakemake_does_not_stop_the_next(project: Path) -> None:
    locks = project / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    output = str(project / "results" / "smoke" / "data" / "dataset.json")
    (locks / "0.output.lock").write_text(output + "\n")
    assert snakemake(project, "results/smoke/data/dataset.json").returncode == 0


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
        second = snakemake(project, "results/smoke/data/dataset.json")
        os.killpg(first.pid, signal.SIGKILL)  # with its job, which nobody waits for
    assert second.returncode != 0
    assert "lock" in (second.stdout + second.stderr).lower()


def test_data_is_verified_and_a_bad_annotation_stops_everything(project: Path, tmp_path: Path) -> None:
    assert snakemake(project, "results/smoke/data/dataset.json").returncode == 0
    data = project / "results" / "smoke" / "data" / "synthetic"
    train = data / "annotations" / "instances_train.json"
    content = json.loads(train.read_text())
    content["annotations"][0]["category_id"] = 12345
    train.write_text(json.dumps(content))
    scale = (project / "configs" / "scales" / "coco-mini.yaml").read_text()
    (project / "configs" / "scales" / "mine.yaml").write_text(scale.replace("name: coco-mini", "name: mine"))
    done = snakemake(project, "table2", "--config", "scale=mine", f"data_root={data}")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "12345" in output and "instances_train.json" in output
    assert not (project / "results" / "mine" / "runs").exists()
