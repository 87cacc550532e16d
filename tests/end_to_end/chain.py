"""The project as a user has it: a fresh copy, and Snakemake in it."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=3600, check=False)


def fresh_project(folder: Path) -> Path:
    for name in ("Snakefile", "workflow", "profiles", "configs", "contrastmask", "requirements.lock"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder
