"""What of a scale's results is committed: its tables, its claims with their intervals, and a line of digests a run.

A few small files, whatever was trained. No weight, image, detection or per-image result is among them: the chain makes
these again from the same configuration, data and code, which the digests name.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

from contrastmask.errors import DataError
from contrastmask.report.paper import METRICS
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
    lines = [run_line(file) for file in sorted((folder / "runs").glob("*/seed*/metrics.json"))]
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


def run_line(file: Path) -> dict[str, Any]:
    """What is committed of one run and seed, from its metrics.json and the train.json beside it, if it was trained."""
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        trained = file.with_name("train.json")
        train = json.loads(trained.read_text(encoding="utf-8")) if trained.exists() else {}
        made = train.get("provenance", {})
        line = {name: _deep(metrics, keys) for name, keys in MEASURED.items()}
        line |= {name: train.get(name, metrics.get(name)) for name in RECORDED}
        return {"run": metrics["run"], "seed": metrics["seed"], **line, **{name: made.get(name) for name in MADE_ON}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} or train.json beside it cannot be read: {error!r}") from None


def _deep(content: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        content = content[key]
    return content
