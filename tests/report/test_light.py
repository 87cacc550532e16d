"""The report needs no deep learning: a page, tables and figures are made where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import importlib, json, pkgutil, sys
import contrastmask.report
for module in pkgutil.walk_packages(contrastmask.report.__path__, "contrastmask.report."):
    importlib.import_module(module.name)
from contrastmask.config import load_tables, settings_from_json
from contrastmask.report.page import write_report
settings = settings_from_json(json.dumps({"results": sys.argv[1], "tables": ["table2"]}))
write_report(settings, load_tables(settings))
heavy = ("torch", "torchvision", "mmcv", "mmdet", "mmengine", "mlflow")
print([name for name in heavy if name in sys.modules])
"""


def test_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]" and list(tmp_path.rglob("index.html"))
