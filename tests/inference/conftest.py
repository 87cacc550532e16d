"""A run folder with a tiny detector of random weights, and images."""

import json
from pathlib import Path

import pytest
import torch
from inference.made import RUN, run_file
from models import tiny

from contrastmask.config import config_hash
from contrastmask.training.checkpoint import save_weights, sha256


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/ with one run at smoke scale, as training leaves it."""
    folder = tmp_path_factory.mktemp("results")
    config = tiny.resolved("contrastmask", "paper", {})
    files = {"annotations": "none.json", "images": "none"}
    data, run = folder / "smoke" / "data", folder / "smoke" / "runs" / RUN / "seed0"
    for path, content in (
        (data / "dataset.json", tiny.DATASET | {"digest": "data", "train": files, "val": files}),
        (data / config["setting"] / "split.json", tiny.SPLIT | {"digest": "split"}),
        (run / "config.json", run_file(config)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    torch.set_num_threads(1)
    save_weights(run / "model.pth", tiny.build("contrastmask").state_dict(), {"run": RUN})
    record = {
        "run": RUN,
        "seed": 0,
        "config_hash": config_hash(config),
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
