"""Bad files: no traceback reaches the user, nothing hangs, nothing wrong is taken for right (see fuzz.py)."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from faults.harness import FULL, ROOT, Results, micro_project
from faults.ledger import Ledger

COUNTS = {
    "annotations": 3000,
    "split lists": 1500,
    "scales": 1000,
    "tables": 1000,
    "settings": 1000,
    "metrics": 1000,
    "readings": 100,
    "records": 400,
    "tracking files": 200,
    "checkpoints": 2000,
}


def test_ten_thousand_bad_files(undisturbed: Results, tmp_path: Path, ledger: Ledger) -> None:
    assert sum(COUNTS.values()) >= 10_000
    counts = COUNTS if FULL else {name: max(count // 50, 10) for name, count in COUNTS.items()}
    project = micro_project(tmp_path / "project")
    for table in (project / "configs" / "tables").glob("*.yaml"):
        # what figures and claims name stays; every command reads all that is there
        if not re.fullmatch("faults|controls-paper|table[2-7].*", table.stem):
            table.unlink()
    shutil.copytree(undisturbed.folder, tmp_path / "results")
    path = os.pathsep.join((str(project), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", "faults.fuzz", project, tmp_path / "results", json.dumps(counts), str(ledger.seed)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""},
        cwd=project, capture_output=True, text=True, timeout=6 * 3600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-3000:]
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {report["target"]: report["inputs"] for report in reports} == counts
    for report in reports:
        how = f"refused with a message {report.get('refused', 0)}, taken rightly {report.get('taken', 0)}"
        with ledger.injecting(f"bad files: {report['target']}", how, report["inputs"]) as line:
            line.seconds += report["seconds"]
