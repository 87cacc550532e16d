"""A trained model in MLflow: as a pyfunc, with what it finds on a few val images, beside the run's numbers."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from contrastmask.inference.export import export
from contrastmask.inference.model import THRESHOLD
from contrastmask.inference.predict import predict
from contrastmask.runtime.files import parse_coco, read_coco_bytes
from contrastmask.runtime.locks import Stop
from contrastmask.tracking.curves import NAME
from contrastmask.tracking.sending import mlflow_run, send, send_files
from contrastmask.tracking.store import StoreError, connect, errors_named, tracking_uri
from contrastmask.training.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun


def log_model(folder: Path, n_images: int, device: str, stop: Stop) -> str:
    """Send the model of the trained run in `folder`, and overlays of the first val images; the id of its MLflow run.

    Raises:
        ConfigError, DataError: the run cannot be read, or its model not be handed on (docs/trust.md).
        StoreError: MLflow cannot be used.
        Interrupted: by a signal.
    """
    from contrastmask.inference.mlflow_model import save

    run = Run.read(folder)
    uri = tracking_uri(run.file("results"))
    client = connect(uri)
    shown = _shown(client, uri, run.folder)
    with tempfile.TemporaryDirectory() as draft:
        exported, artifacts = Path(draft, "export"), Path(draft, "artifacts")
        trained = export(run.folder, exported)
        save(exported, artifacts / "model")
        if n_images:
            predict(trained, val_images(run, n_images), artifacts, THRESHOLD, device, stop)
        with errors_named(uri):
            send_files(client, uri, shown, artifacts)
    return shown.info.run_id


def _shown(client: "MlflowClient", uri: str, folder: Path) -> "MlflowRun":
    """MLflow's run of a folder, brought up to date; StoreError if there is none to see."""
    send(client, uri, folder)
    _, run_id = mlflow_run(folder)
    with errors_named(uri):
        if not run_id:
            raise StoreError(f"MLflow has no run of {folder}: it has no {NAME}")
        found = client.get_run(run_id)
        if found.info.lifecycle_stage == "deleted":
            raise StoreError(f"the run {run_id} of {folder} was deleted in MLflow: restore it there first")
        return found


def val_images(run: Run, n: int) -> list[Path]:
    """The first `n` val images of a run's data."""
    val = run.dataset["val"]
    coco = parse_coco(read_coco_bytes(Path(val["annotations"])), Path(val["annotations"]))
    return [Path(val["images"]) / image["file_name"] for image in coco["images"][:n]]
