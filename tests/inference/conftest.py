"""A run folder with a tiny detector of random weights, and images."""

import json
from pathlib import Path

import pytest
import torch
from inference.made import RUN
from models import tiny

from contrastmask.config import find_run, load_tables, runfile, settings_with
from contrastmask.training.checkpoint import save_weights, sha256


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/ with one run at smoke scale, as training leaves it."""
    folder = tmp_path_factory.mktemp("results")
    settings = settings_with({"results": str(folder)})
    described = runfile.describe(find_run(load_tables(settings), RUN), 0, settings)
    files = {"annotations": "none.json", "images": "none"}
    run = settings.run_folder(RUN, 0)
    for path, content in (
        (settings.dataset, tiny.DATASET | {"digest": "data", "train": files, "val": files}),
        (settings.split("nonvoc2voc"), tiny.SPLIT | {"digest": "split"}),
        (run / "config.json", described),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    torch.set_num_threads(1)
    save_weights(run / "model.pth", tiny.build("contrastmask").state_dict(), {"run": RUN})
    record = {
        "run": RUN,
        "seed": 0,
        "config_hash": described["config_hash"],
        "data_digest": "data",
        "split_digest": "split",
        "iterations": 60,
        "checkpoint_sha256": sha256(run / "model.pth"),
        "provenance": {"git.commit": "c0ffee", "git.dirty": "true"},
    }
    (run / "train.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def run(results: Path) -> Path:
    """The folder of that run."""
    return results / "smoke" / "runs" / RUN / "seed0"
