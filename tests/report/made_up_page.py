"""A made-up results folder: two seeds of Tables 2 and 5 at a chosen scale, and one run left out."""

import json
from pathlib import Path
from typing import Any

from contrastmask.config import Settings, all_runs, config_hash, load_tables, resolve, settings_with
from contrastmask.report.page import write_report
from contrastmask.report.paper import METRICS
from contrastmask.tracking.curves import Curves

HOSTILE = '"><script>alert(1)</script>&<img src=x onerror=alert(1)> $x_1$'
MISSING = "contrastmask-paper_r50_1x_nonvoc2voc_tau-0.9"


def metrics(run: str, seed: int, scale: str, identity: str) -> dict[str, Any]:
    """metrics.json in which every AP is 0.351, 0.353, … by seed; one category has a hostile name."""
    numbers = dict.fromkeys(METRICS, 0.351 + 0.002 * seed)
    subsets = {"novel": numbers, "base": numbers, "all": numbers | {"APl": None}}
    categories = [(1, HOSTILE, "novel", 0.3), (2, "cup", "base", 0.5), (3, "fork", "base", None)]
    return {
        "run": run, "seed": seed, "scale": scale, "preset": "paper", "config_hash": identity,
        "checkpoint_sha256": "e" * 64, "data_digest": "d" * 32, "n_images": 8, "seconds": 3.0,
        "segm": subsets, "bbox": subsets, "gt_box_miou": dict.fromkeys(subsets, 0.5),
        "per_category": [
            {"id": i, "name": name, "split": split, "segm_AP": ap, "bbox_AP": ap, "gt_box_miou": ap}
            for i, name, split, ap in categories
        ],
    }  # fmt: skip


def write_run(folder: Path, run: str, seed: int, scale: str, identity: str) -> None:
    """Everything that a finished run leaves, without weights."""
    (folder / "work").mkdir(parents=True)
    provenance = {"git.commit": "a" * 40, "git.dirty": "true", "hw.cpu": "Some CPU", "hw.cores": "2", "hw.gpu": "none",
                  "version.python": "3.11", "version.torch": "2", "version.mmdet": "3"}  # fmt: skip
    train = {
        "run": run, "seed": seed, "config_hash": identity, "data_digest": "d" * 32, "split_digest": "f" * 32,
        "code_digest": "b" * 16, "iterations": 4, "batch": 4, "seconds": 7200.0 + seed, "gpu_memory_bytes": None,
        "checkpoint_sha256": "e" * 64, "provenance": provenance,
    }  # fmt: skip
    files = {"train.json": train, "metrics.json": metrics(run, seed, scale, identity), "config.json": {"method": run}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    curves = Curves(folder)
    for step in range(1, 5):
        curves.metrics({"train/loss": 4 / step, "train/loss_mask": 1 / step}, step)
    sent = {"uri": "http://user:secret@127.0.0.1:5000", "run_id": "ab12"}
    (folder / "work" / "mlflow.json").write_text(json.dumps(sent))


def make_up(results: Path, scale: str = "smoke") -> Settings:
    """Fill a results folder; every run but MISSING has two seeds."""
    changes = {"results": str(results), "scale": scale, "seeds": [0, 1], "tables": ["table2", "table5"]}
    if scale != "smoke":
        changes["data_root"] = "/data"
    settings = settings_with(changes)
    tables = load_tables(settings)
    for run, spec in all_runs({name: tables[name] for name in settings.tables}).items():
        for seed in settings.seeds if run != MISSING else ():
            write_run(settings.run_folder(run, seed), run, seed, scale, config_hash(resolve(spec, settings)))
    return settings


def write(settings: Settings) -> str:
    """The page's HTML."""
    return write_report(settings, load_tables(settings)).read_text(encoding="utf-8")
