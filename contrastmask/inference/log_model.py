"""A trained model in MLflow: as a pyfunc, with what it finds on a few val images, beside the run's numbers."""

import tempfile
from pathlib import Path

from contrastmask.inference.export import export
from contrastmask.inference.model import THRESHOLD
from contrastmask.inference.predict import predict
from contrastmask.runtime.files import parse_coco, read_coco_bytes
from contrastmask.runtime.locks import Stop
from contrastmask.tracking.sending import mlflow_run, send, send_files
from contrastmask.tracking.store import connect, errors_named, tracking_uri
from contrastmask.training.run import Run


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
    with tempfile.TemporaryDirectory() as draft:
        exported, artifacts = Path(draft, "export"), Path(draft, "artifacts")
        trained = export(run.folder, exported)
        save(exported, artifacts / "model")
        if n_images:
            predict(trained, val_images(run, n_images), artifacts, THRESHOLD, device, stop)
        send(client, uri, run.folder)
        _, run_id = mlflow_run(run.folder)
        with errors_named(uri):
            send_files(client, uri, client.get_run(run_id), artifacts)
    return run_id


def val_images(run: Run, n: int) -> list[Path]:
    """The first `n` val images of a run's data."""
    val = run.dataset["val"]
    coco = parse_coco(read_coco_bytes(Path(val["annotations"])), Path(val["annotations"]))
    return [Path(val["images"]) / image["file_name"] for image in coco["images"][:n]]
