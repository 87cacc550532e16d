"""A run without Snakemake: from its folder alone, also after the project was moved."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from end_to_end.chain import tiny_project

RUN = "mask-rcnn_r50_1x_nonvoc2voc"
pytestmark = pytest.mark.slow


def test_a_run_is_trained_and_measured_from_its_folder_alone(tmp_path: Path) -> None:
    """What could be read beside the folder is taken away first: tables, scales, Snakemake's own files."""
    project = tiny_project(tmp_path, 12, 2, one_x={"iterations": 4})

    def contrastmask(folder: Path, *arguments: str) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "contrastmask", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = Path(contrastmask(project, "configure", RUN, "--config", "scale=tiny").strip())
    assert [path.name for path in (project / folder).iterdir()] == ["config.json"]
    moved = Path(shutil.move(project, tmp_path.with_name(f"{tmp_path.name} moved")))
    for name in (
        "configs/tables",
        "configs/scales",
        "configs/config.yaml",
        "workflow/rules",
        "Snakefile",
        ".snakemake",
    ):
        path = moved / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    contrastmask(moved, "train", str(folder))
    assert RUN in contrastmask(moved / folder, "evaluate", ".")  # from wherever one stands
    decided = json.loads((moved / folder / "config.json").read_text())
    record, metrics = (json.loads((moved / folder / name).read_text()) for name in ("train.json", "metrics.json"))
    assert record["config_hash"] == metrics["config_hash"] == decided["config_hash"]
    assert (record["iterations"], metrics["n_images"]) == (4, 2)
    assert (moved / "results" / "mlflow.db").exists()
