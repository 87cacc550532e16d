"""A trained model in MLflow, as a pyfunc."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from inference.made import RUN, picture
from PIL import Image

import contrastmask
from contrastmask.cli import main
from contrastmask.data.images import ImageError
from contrastmask.tracking.curves import Curves
from contrastmask.tracking.store import connect, tracking_uri

COLUMNS = ["image", "category", "novel", "score", "x1", "y1", "x2", "y2", "height", "width", "rle"]


def test_mlflow_predicts_image_paths_as_load_model_does(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(results, tmp_path / "results")
    data, run = tmp_path / "results" / "smoke" / "data", tmp_path / "results" / "smoke" / "runs" / RUN / "seed0"
    photos = [str(picture(data / "none" / f"{n}.png", seed=n)) for n in range(3)]
    (data / "none.json").write_text(json.dumps({"images": [{"file_name": Path(photo).name} for photo in photos]}))
    asked = ["log-model", "--run", RUN, "--scale", "smoke", "--results", str(run.parents[3]), "--images", "2"]
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 1 and "it has no curves.jsonl" in refused.output
    Curves(run).tags({"a": "b"})
    done = CliRunner().invoke(main, [*asked, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    run_id = done.stdout.split("runs:/")[1].split("/model")[0]

    (files,) = (tmp_path / "results" / "mlartifacts").glob(f"*/*/{run_id}/artifacts")
    assert [Image.open(file).format for file in sorted((files / "overlays").iterdir())] == ["PNG"] * 2
    assert not list(files.rglob("*.pkl"))  # loading it unpickles nothing
    model = mlflow.pyfunc.load_model(str(files / "model"))
    assert model.metadata.get_input_schema().input_names() == ["image"]
    found = model.predict(pd.DataFrame({"image": photos}), params={"threshold": 0.0})
    assert list(found) == COLUMNS and list(found["image"].unique()) == photos
    alone = contrastmask.load_model(run, device="cpu").predict(photos[1], threshold=0)
    second = found[found["image"] == photos[1]]
    assert second["score"].tolist() == alone.scores.tolist() and second["category"].tolist() == list(alone.names)
    assert second[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == alone.boxes.tolist()
    assert second["rle"].tolist() == [entry["segmentation"]["counts"] for entry in alone.coco]
    assert list(model.predict(pd.DataFrame({"image": photos}), params={"threshold": 1.0})) == COLUMNS
    with pytest.raises(ImageError):
        model.predict(pd.DataFrame({"image": [__file__]}))

    connect(tracking_uri(run.parents[3])).delete_run(run_id)
    refused = CliRunner().invoke(main, asked)
    assert refused.exit_code == 1 and f"{run_id} of {run} was deleted in MLflow" in refused.output
