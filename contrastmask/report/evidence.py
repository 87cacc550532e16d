"""What of a scale's results is committed: its tables, its claims with their intervals, and a line of digests a run.

A few small files, whatever was trained. No weight, image, detection or per-image result is among them: the chain makes
these again from the same configuration, data and code, which the digests name.
"""

import csv
import shutil
from pathlib import Path
from typing import Any

from contrastmask.errors import DataError
from contrastmask.report.paper import METRICS
from contrastmask.report.run_files import read_run_files
from contrastmask.runtime.files import atomic_writer

OF_SCALE = ("claims.csv", "claims.md", "prior.csv", "prior.md")
RECORDED = ("config_hash", "code_digest", "data_digest", "split_digest", "checkpoint_sha256", "iterations", "seconds")
MADE_ON = ("git.commit", "git.dirty", "hw.cpu", "hw.gpu", "version.torch", "version.mmdet")
MEASURED = {
    **{f"novel_{metric}": ("segm", "novel", metric) for metric in METRICS},
    "base_AP": ("segm", "base", "AP"),
    "novel_box_AP": ("bbox", "novel", "AP"),
    "novel_IoU": ("gt_box_miou", "novel"),
    "base_IoU": ("gt_box_miou", "base"),
}
COLUMNS = ("run", "seed", *MEASURED, *RECORDED, *MADE_ON)


def export_evidence(folder: Path, out: Path) -> list[Path]:
    """Write a scale's evidence; returns the files.

    Args:
        folder: results/<scale>.
        out: where to; what it holds of tables and claims is replaced.

    Raises:
        DataError: no run has been evaluated, or a record of one cannot be read.
    """
    lines = [run_line(file.parent) for file in sorted((folder / "runs").glob("*/seed*/metrics.json"))]
    if not lines:
        raise DataError(f"{folder / 'runs'} holds no evaluated run: nothing to commit")
    tables = sorted(file for file in (folder / "tables").glob("*.*") if file.suffix in (".csv", ".md"))
    copied = [file for file in (folder / name for name in OF_SCALE) if file.exists()]
    written = [out / file.relative_to(folder) for file in (*copied, *tables)]
    for file, place in zip((*copied, *tables), written, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    with atomic_writer(out / "runs.csv") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return [*written, out / "runs.csv"]


def run_line(folder: Path) -> dict[str, Any]:
    """What is committed of one run and seed, from its metrics.json and its train.json, if it was trained."""
    files = read_run_files(folder)
    for name, problem in files.problems.items():
        raise DataError(f"{folder / name} cannot be read: {problem}")
    either = files.metrics | files.train
    line = {"run": files.run, "seed": files.seed}
    line |= {name: _deep(files.metrics, keys) for name, keys in MEASURED.items()}
    line |= {name: either.get(name) for name in RECORDED}
    return line | {name: files.provenance.get(name) for name in MADE_ON}


def _deep(content: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys[:-1]:
        content = content.get(key, {})
    return content.get(keys[-1])
