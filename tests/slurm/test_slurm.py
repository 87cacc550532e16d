"""A table through a real Slurm, with one run preempted and one cancelled half-way: `make test-slurm`.

The cluster is one node on the loopback (cluster.sh). Its two GPUs exist only as far as Slurm counts them, so the runs
are on the CPU, in two processes each.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from end_to_end.chain import fresh_project, snakemake

from contrastmask.tracking.curves import read_events

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
SCRIPT = Path(__file__).with_name("cluster.sh")
CONFIG = ["scale=tiny", "tables=[table7]", "gpus_per_run=2"]
STATUS_OFTEN = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
NO_ACCOUNTING = ["--slurm-status-command", "squeue"]  # this Slurm has no database

pytestmark = [
    pytest.mark.skipif("TEST_SLURM" not in os.environ, reason="takes many minutes; its command is `make test-slurm`"),
    pytest.mark.timeout(3000),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find the cluster."""
    assert not MISSING, f"{', '.join(MISSING)} missing: apt-get install munge slurmctld slurmd slurm-client"
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([SCRIPT, "start", folder], check=True)
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a scale of its own: the smoke scale, shorter, with a checkpoint every other step."""
    folder = fresh_project(tmp_path_factory.mktemp("project"))
    scale = yaml.safe_load((folder / "configs" / "scales" / "smoke.yaml").read_text())
    scale |= {"name": "tiny", "one_x": {"iterations": 24}, "checkpoint_every": 2, "batch": 4, "images_per_gpu": 2}
    scale["dataset"] |= {"train_images": 16, "val_images": 8}
    (folder / "configs" / "scales" / "tiny.yaml").write_text(yaml.safe_dump(scale))
    return folder


def test_a_table_made_through_preemption_and_cancellation_equals_an_undisturbed_one(
    project: Path, slurm: dict[str, str]
) -> None:
    def command(*arguments: str) -> str:
        return subprocess.run(arguments, env=slurm, check=True, capture_output=True, text=True).stdout.strip()

    order = [sys.executable, "-m", "snakemake", "table7", "--profile", "profiles/slurm", *STATUS_OFTEN, *NO_ACCOUNTING]
    with (project / "slurm.txt").open("w") as output:
        main = subprocess.Popen([*order, "--config", *CONFIG], cwd=project, env=slurm, stdout=output, stderr=output)
    try:
        first = wait_for_checkpoint(project, main)
        preempted = command("squeue", "--noheader", "--states=running", "--format=%i")
        command("sbatch", "--partition=urgent", "--gpus=2", "--output=/dev/null", "--wrap=true")
        wait(lambda: statuses(first) == ["KILLED"], main)
        second = wait_for_checkpoint(project, main, but=first)
        cancelled = command("squeue", "--noheader", "--states=running", "--format=%i")
        command("scancel", cancelled)
        wait(lambda: main.poll() is not None)
    finally:
        main.kill()
    assert main.returncode == 0, (project / "slurm.txt").read_text()[-5000:]

    for job, restarts in ((preempted, 1), (cancelled, 0)):
        shown = command("scontrol", "show", "job", job)
        wanted = (f"Restarts={restarts}", "gres:gpu:2", "MinMemoryCPU=8000M", "TimeLimit=1-00:00:00", "NumNodes=1")
        assert all(words in shown for words in wanted), shown
    assert {first, second} == {path.parent for path in project.glob("results/tiny/runs/*/seed0/work")}

    done = snakemake(project, "table7", "--config", *CONFIG, "results=undisturbed")
    assert done.returncode == 0, done.stderr[-3000:]
    for run in (first, second):
        other = project / "undisturbed" / run.relative_to(project / "results")
        ours, theirs = (torch.load(f / "model.pth", weights_only=True)["state_dict"] for f in (run, other))
        torch.testing.assert_close(ours, theirs)
        ious, undisturbed = (json.loads((f / "metrics.json").read_text())["gt_box_miou"] for f in (run, other))
        assert ious == pytest.approx(undisturbed, abs=1e-3) and ious["all"] > 0.1  # AP is 0 after so few steps
        assert statuses(run) == ["KILLED", "FINISHED", "FINISHED"]  # training stopped, training done, evaluation done
        assert statuses(other) == ["FINISHED", "FINISHED"]
    tables = [pd.read_csv(project / results / "tiny/tables/table7.csv") for results in ("results", "undisturbed")]
    pd.testing.assert_frame_equal(*tables)
    assert list(tables[0]["status"]) == ["ok", "ok"]
    assert_one_mlflow_run_each(project)


def statuses(run: Path) -> list[str]:
    events = [event for event, _ in read_events(run / "curves.jsonl")]
    assert sum(event["event"] == "run" for event in events) <= 1
    return [event["status"] for event in events if event["event"] == "status"]


def assert_one_mlflow_run_each(project: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'results' / 'mlflow.db'}")
    every = client.search_runs([e.experiment_id for e in client.search_experiments()])
    runs = [run for run in every if run.data.params]  # the others are of tables
    assert [(run.info.status, run.data.tags["resumes"]) for run in runs] == [("FINISHED", "1")] * 2
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, 25))


def wait(condition: Callable[[], object], main: subprocess.Popen | None = None) -> None:
    while not condition():
        assert main is None or main.poll() is None, "Snakemake ended"
        time.sleep(0.2)


def wait_for_checkpoint(project: Path, main: subprocess.Popen, but: Path | None = None) -> Path:
    """The folder of a run, other than `but`, that is between its first checkpoint and its end."""
    while True:
        for checkpoint in project.glob("results/tiny/runs/*/seed0/work/iter_*.pth"):
            run = checkpoint.parent.parent
            if run != but:
                return run
        assert main.poll() is None, (project / "slurm.txt").read_text()[-5000:]
        time.sleep(0.2)
