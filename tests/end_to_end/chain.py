"""The project as a user has it: a fresh copy, and Snakemake in it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=3600, check=False)


def fresh_project(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "profiles", "configs", "contrastmask", "requirements.lock"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def tiny_project(folder: Path, train_images: int, val_images: int, **changes: Any) -> Path:
    """A fresh project with smoke's scale, changed, as scale `tiny`, whose data is ready."""
    scale = yaml.safe_load((fresh_project(folder) / "configs" / "scales" / "smoke.yaml").read_text())
    scale["dataset"] |= {"train_images": train_images, "val_images": val_images}
    (folder / "configs" / "scales" / "tiny.yaml").write_text(yaml.safe_dump(scale | {"name": "tiny"} | changes))
    done = snakemake(folder, "results/tiny/data/nonvoc2voc/split.json", "--config", "scale=tiny")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder
