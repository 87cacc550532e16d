"""Code in an interpreter of its own, where nothing is imported yet."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, *folders: Path) -> str:
    """What it prints; it finds the project, and before it what lies in `folders`. AssertionError if it fails."""
    path = os.pathsep.join(str(folder) for folder in (*folders, ROOT))
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
