"""Files that MLflow shows beside numbers: a run's model and overlays, a scale's tables and figures."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from contrastmask.tracking.sending import find_or_create
from contrastmask.tracking.store import errors_named, experiment_id, folder_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TABLES, DIGEST_TAG = "tables and figures", "contrastmask.files"
SHOWN = ("tables/*.md", "tables/*.html", "tables/*.csv", "claims.md", "figures/*.png")


def send_files(client: "MlflowClient", uri: str, run: "Run", files: Mapping[str, Path]) -> None:
    """Make files, by their path among the run's artifacts, what they are here.

    Raises:
        OSError: a file cannot be read or written.
        MlflowException: the server takes none.
    """
    local = folder_of(uri, run)
    for name, file in files.items():
        if local is None:
            client.log_artifact(run.info.run_id, str(file), name.rpartition("/")[0] or None)
        else:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, local / name)


def send_tables(client: "MlflowClient", uri: str, scale: Path) -> None:
    """Show the tables and figures of the folder `scale` as one run of its experiment, sent again when they changed.

    Raises:
        StoreError: they cannot be sent now; repeat it later.
    """
    files = {str(file.relative_to(scale)): file for pattern in SHOWN for file in sorted(scale.glob(pattern))}
    if not files:
        return
    digest = hashlib.sha256(b"".join(name.encode() + file.read_bytes() for name, file in files.items())).hexdigest()
    newest = round(1000 * max(file.stat().st_mtime for file in files.values()))
    with errors_named(uri):
        experiment = experiment_id(client, f"contrastmask/{scale.name}", uri)
        run = find_or_create(client, experiment, {"id": TABLES, "time": newest, "title": TABLES})
        if run.info.lifecycle_stage == "deleted" or run.data.tags.get(DIGEST_TAG) == digest:
            return
        send_files(client, uri, run, files)
        client.set_tag(run.info.run_id, DIGEST_TAG, digest)
        client.set_terminated(run.info.run_id, end_time=newest)
