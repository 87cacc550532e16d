"""Sends to MLflow the curves file of one run, and files that stand beside numbers: models, tables, figures.

What MLflow has is noted in MLflow itself, as a tag of the run that says how much of its file was sent. So a store that
was deleted is filled again, and another one too. Sending is repeatable: MLflow drops a point that it has, parameters
and tags are set to what they are, and a run is found again by the id in its file. A crash between sending and noting
costs nothing.
"""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from contrastmask.runtime.files import write_json
from contrastmask.tracking.curves import NAME, RUNNING, Event, ends_line, read_events
from contrastmask.tracking.store import errors_named, experiment_id, folder_of, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
ID_TAG, SENT_TAG = "contrastmask.run", "contrastmask.sent"
RENAMED = {"source": "mlflow.source.name", "description": "mlflow.note.content"}  # MLflow has places for these
MAX_METRICS, MAX_KEYS = 1000, 100  # what MLflow takes in one request,
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_NAME, MAX_DIGEST = 250, 6000, 8000, 500, 36  # and in one text
LOCK_TIMEOUT_S = 30.0
TABLES, DIGEST_TAG = "tables and figures", "contrastmask.files"
SHOWN = ("tables/*.md", "tables/*.html", "tables/*.csv", "claims.md", "figures/*.png")


def mlflow_run(folder: Path) -> tuple[str, str]:
    """(address of the store, run id) of where a run was sent last; ("", "") if it was not, or the note is damaged."""
    try:
        note = json.loads(_note(folder).read_text())
        return str(note["uri"]), str(note["run_id"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "", ""


def _note(folder: Path) -> Path:
    return Path(folder) / "work" / "mlflow.json"


def send(client: "MlflowClient", uri: str, folder: Path) -> int:
    """Send what MLflow does not have of the run in `folder`; number of lines.

    A run that somebody deleted in MLflow stays deleted. `client` from `connect(uri)`.

    Raises:
        StoreError: it cannot be sent now; repeat it later.
    """
    folder = Path(folder).resolve()
    path = folder / NAME
    header = _header(path)
    if header is None:
        return 0
    with errors_named(uri):
        _note(folder).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_note(folder).with_name("sync.lock"), timeout=LOCK_TIMEOUT_S):
            experiment = experiment_id(client, f"contrastmask/{folder.parents[2].name}", uri)
            run = find_or_create(client, experiment, header)
            if run.info.lifecycle_stage == "deleted":
                return 0
            if mlflow_run(folder) != (without_password(uri), run.info.run_id):
                write_json(_note(folder), {"uri": without_password(uri), "run_id": run.info.run_id})
            _nest(client, run, folder)
            return _send_new(client, uri, run, path)


def _header(path: Path) -> Event | None:
    """The line that says which run the file is the record of."""
    return next((event for event, _ in read_events(path) if event["event"] == "run"), None)


def find_or_create(client: "MlflowClient", experiment: str, header: Event) -> "Run":
    """The MLflow run of that id, also if it was deleted there."""
    from mlflow.entities import ViewType

    found = client.search_runs([experiment], f"tags.`{ID_TAG}` = '{header['id']}'", ViewType.ALL, max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment, header["time"], {ID_TAG: header["id"]}, _text(header["title"], MAX_NAME))


def _nest(client: "MlflowClient", run: "Run", folder: Path) -> None:
    """Put the seeds of a run, if it has several, under one parent."""
    if "mlflow.parentRunId" in run.data.tags or len(list(folder.parent.glob(f"*/{NAME}"))) < 2:
        return
    with _kept_id(folder.parent) as id:
        header = {"id": id, "time": run.info.start_time, "title": folder.parent.name}
        parent = find_or_create(client, run.info.experiment_id, header)
        if parent.info.status == RUNNING:
            client.set_terminated(parent.info.run_id)
    client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)


@contextmanager
def _kept_id(folder: Path) -> Iterator[str]:
    """The id of the MLflow run that stands for a folder, kept in it; within, nobody else makes that run."""
    with FileLock(folder / "mlflow.lock", timeout=LOCK_TIMEOUT_S):
        note = folder / "mlflow.json"
        if not note.exists():
            write_json(note, {"id": uuid.uuid4().hex})
        yield json.loads(note.read_text())["id"]


def _send_new(client: "MlflowClient", uri: str, run: "Run", path: Path) -> int:
    """Send the lines after those that MLflow has, then note in it how far the file was sent; number of lines."""
    from mlflow.entities import Metric, Param, RunTag

    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is sent must not be lost by a power cut, or it would come twice
        size = os.fstat(file.fileno()).st_size
    offset = int(run.data.tags.get(SENT_TAG, "0"))
    found = list(read_events(path, offset if offset <= size and ends_line(path, offset) else 0))
    header = _header(path)
    if not found or header is None or header["id"] != run.data.tags[ID_TAG]:  # set aside for another since
        return 0
    events = [event for event, _ in found]
    _send_datasets(client, run, events)
    _send_texts(client, uri, run, events)
    params, tags = _facts(events, run.data.params)
    metrics = [
        Metric(_key(key), _plottable(value), event["time"], event["step"])
        for event in events
        if event["event"] == "metrics"
        for key, value in event["values"].items()
    ]
    for points in _parts(metrics, MAX_METRICS):
        client.log_batch(run.info.run_id, metrics=points)
    for given in _parts([Param(*pair) for pair in params.items()], MAX_KEYS):
        client.log_batch(run.info.run_id, params=given)
    changes = [event for event in events if event["event"] in ("session", "status")]
    if changes and changes[-1]["event"] == "session":
        client.update_run(run.info.run_id, status=RUNNING)
    elif changes:
        client.set_terminated(run.info.run_id, changes[-1]["status"], changes[-1]["time"])
    for facts in _parts([RunTag(*pair) for pair in (tags | {SENT_TAG: str(found[-1][1])}).items()], MAX_KEYS):
        client.log_batch(run.info.run_id, tags=facts)
    return len(found)


def _facts(events: Sequence[Event], known: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Parameters and tags; `known`: those parameters that MLflow has. They cannot change: a new value is a tag."""
    params, tags = dict(known), {}
    for event in events:
        match event["event"]:
            case "params":
                for name, value in event["values"].items():
                    key, text = _key(name), _text(value, MAX_PARAM)
                    if params.setdefault(key, text) != text:
                        tags[_key(f"param_changed.{key}")] = text
            case "tags":
                tags |= _as_tags(event["values"])
            case "metrics":
                for key, value in event["values"].items():
                    if not math.isfinite(float(value)):
                        tags.setdefault(_key(f"nonfinite.{key}"), f"{value} at step {event['step']}")
            case "session" if event["resumes"]:
                tags |= {"resumes": str(event["resumes"]), "resumed_at": str(event["iteration"])}
            case "status" if event["reason"]:
                tags["last_error"] = _text(event["reason"], MAX_TAG)
            case "table":
                table = {"path": _key(event["name"]), "type": "table"}
                tags["mlflow.loggedArtifacts"] = json.dumps([table])
    return params, tags


def _send_datasets(client: "MlflowClient", run: "Run", events: Sequence[Event]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for event in (event for event in events if event["event"] == "dataset"):
        source = json.dumps({"uri": _text(event["source"], MAX_TAG)})
        data = Dataset(_text(event["name"], MAX_NAME), event["digest"][:MAX_DIGEST], "local", source)
        client.log_inputs(run.info.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", event["context"])])])


def _send_texts(client: "MlflowClient", uri: str, run: "Run", events: Sequence[Event]) -> None:
    """Texts and tables become artifacts; a table as of mlflow.log_table, which would append to one that is there."""
    texts = {}
    for event in events:
        match event["event"]:
            case "text":
                texts[_key(event["name"])] = event["text"]
            case "table":
                texts[_key(event["name"])] = json.dumps({"columns": event["columns"], "data": event["data"]})
    with tempfile.TemporaryDirectory() as draft:
        for name, content in texts.items():
            path = Path(draft, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", errors="replace")
        if texts:
            send_files(client, uri, run, Path(draft))


def _as_tags(values: Mapping[str, str]) -> dict[str, str]:
    tags = {_key(RENAMED.get(name, name)): _text(value, MAX_TAG) for name, value in values.items()}
    return tags | ({"mlflow.source.git.commit": tags["git.commit"]} if "git.commit" in tags else {})


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _plottable(value: float | str) -> float:
    """MLflow would store infinity as 1.8e308, which flattens the curve: show it as the gap that nan makes."""
    return float(value) if math.isfinite(float(value)) else math.nan


def _key(name: str) -> str:
    """The nearest name that MLflow accepts: it wants word characters and a normal relative path."""
    parts = re.sub(r"[^/\w.\- ]", "_", name)[:MAX_KEY].split("/")
    return "/".join(part for part in parts if part.strip(".")) or "unnamed"


def _text(text: str, limit: int) -> str:
    """Cut, and without the half characters that a file name may hold and a database does not take."""
    return text[:limit].encode("utf-8", "replace").decode()


# ---------------------------------------------------------------------------- files


def send_files(client: "MlflowClient", uri: str, run: "Run", folder: Path) -> None:
    """Make the files in `folder` artifacts of a run, by their paths in it; those of the same paths are replaced.

    Raises:
        OSError: a file cannot be read or written.
        MlflowException: the server takes none.
    """
    local = folder_of(uri, run)
    if local is None:
        client.log_artifacts(run.info.run_id, str(folder))
    else:
        shutil.copytree(folder, local, dirs_exist_ok=True)


def send_tables(client: "MlflowClient", uri: str, scale: Path) -> None:
    """Show the tables and figures of the folder `scale` as one run of its experiment, sent again when they changed.

    A store may hold several result folders with a scale of that name: each has a run of its own.

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
        with _kept_id(scale) as id:
            run = find_or_create(client, experiment, {"id": id, "time": newest, "title": TABLES})
        if run.info.lifecycle_stage == "deleted" or run.data.tags.get(DIGEST_TAG) == digest:
            return
        with tempfile.TemporaryDirectory() as draft:
            for name, file in files.items():
                copy = Path(draft, name)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)
            send_files(client, uri, run, Path(draft))
        client.set_tag(run.info.run_id, DIGEST_TAG, digest)
        client.set_terminated(run.info.run_id, end_time=newest)
