"""Sends the curves file of one run to MLflow.

What MLflow has is noted in MLflow itself, as a tag of the run that says how much of its file was sent. So a store that
was deleted is filled again, and another one too. Sending is repeatable: MLflow drops a point that it has, parameters
and tags are set to what they are, and a run is found again by the id in its file. A crash between sending and noting
costs nothing.
"""

import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from contrastmask.runtime.files import write_json
from contrastmask.tracking.curves import NAME, RUNNING, Event, ends_line, read_events
from contrastmask.tracking.store import PROXIED, SQLITE, artifacts, errors_named, experiment_id, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
ID_TAG, SENT_TAG = "contrastmask.run", "contrastmask.sent"
RENAMED = {"source": "mlflow.source.name", "description": "mlflow.note.content"}  # MLflow has places for these
MAX_METRICS, MAX_KEYS = 1000, 100  # what MLflow takes in one request,
MAX_KEY, MAX_PARAM, MAX_TAG, MAX_NAME, MAX_DIGEST = 250, 6000, 8000, 500, 36  # and in one text
LOCK_TIMEOUT_S = 30.0


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
    header = next((event for event, _ in read_events(path) if event["event"] == "run"), None)
    if header is None:
        return 0
    with errors_named(uri):
        _note(folder).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_note(folder).with_name("sync.lock"), timeout=LOCK_TIMEOUT_S):
            experiment = experiment_id(client, f"contrastmask/{folder.parents[2].name}", uri)
            run = _find_or_create(client, experiment, header)
            if run.info.lifecycle_stage == "deleted":
                return 0
            if mlflow_run(folder) != (without_password(uri), run.info.run_id):
                write_json(_note(folder), {"uri": without_password(uri), "run_id": run.info.run_id})
            _nest(client, run, folder)
            return _send_from(client, uri, run, path)


def _find_or_create(client: "MlflowClient", experiment: str, header: Event) -> "Run":
    """The MLflow run of that id, also if it was deleted there."""
    from mlflow.entities import ViewType

    found = client.search_runs([experiment], f"tags.`{ID_TAG}` = '{header['id']}'", ViewType.ALL, max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment, header["time"], {ID_TAG: header["id"]}, _text(header["title"], MAX_NAME))


def _nest(client: "MlflowClient", run: "Run", folder: Path) -> None:
    """Put the seeds of a run, if it has several, under one parent. Its id is kept beside them: made once, by one."""
    if "mlflow.parentRunId" in run.data.tags or len(list(folder.parent.glob(f"*/{NAME}"))) < 2:
        return
    with FileLock(folder.parent / "mlflow.lock", timeout=LOCK_TIMEOUT_S):
        note = folder.parent / "mlflow.json"
        if not note.exists():
            write_json(note, {"id": uuid.uuid4().hex})
        header = {"id": json.loads(note.read_text())["id"], "time": run.info.start_time, "title": folder.parent.name}
        parent = _find_or_create(client, run.info.experiment_id, header)
        if parent.info.status == RUNNING:
            client.set_terminated(parent.info.run_id)
    client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)


def _send_from(client: "MlflowClient", uri: str, run: "Run", path: Path) -> int:
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is sent must not be lost by a power cut, or it would come twice
        size = os.fstat(file.fileno()).st_size
    offset = int(run.data.tags.get(SENT_TAG, "0"))
    sender, sent = _Sender(client, uri, run), 0
    for events, end in _portions(path, offset if offset <= size and ends_line(path, offset) else 0):
        sender.send(events, end)
        sent += len(events)
    return sent


def _portions(path: Path, offset: int) -> Iterator[tuple[list[Event], int]]:
    """Lines in portions of about one request, each with the offset after it."""
    events: list[Event] = []
    count, end = 0, offset
    for event, end in read_events(path, offset):
        events.append(event)
        count += len(event.get("values", [0]))
        if count >= MAX_METRICS:
            yield events, end
            events, count = [], 0
    if events:
        yield events, end


class _Sender:
    """Applies events to one MLflow run; of several tags of one name and of several statuses, the last one counts."""

    def __init__(self, client: "MlflowClient", uri: str, run: "Run") -> None:
        self.client, self.uri, self.run, self.id = client, uri, run, run.info.run_id
        self.known = dict(run.data.params)

    def send(self, events: Sequence[Event], end: int) -> None:
        """Send events, then note that the file was sent up to byte `end`."""
        from mlflow.entities import Metric, Param, RunTag

        metrics: list[Metric] = []
        params: dict[str, str] = {}
        tags: dict[str, str] = {}
        for event in events:
            match event["event"]:
                case "metrics":
                    for key, value in event["values"].items():
                        metrics.append(Metric(_key(key), _plottable(value), event["time"], event["step"]))
                        if not math.isfinite(float(value)):
                            tags.setdefault(_key(f"nonfinite.{key}"), f"{value} at step {event['step']}")
                case "params":
                    self._take_params(event["values"], params, tags)
                case "tags":
                    tags |= _as_tags(event["values"])
                case "session" if event["resumes"]:
                    tags |= {"resumes": str(event["resumes"]), "resumed_at": str(event["iteration"])}
                case "status" if event["reason"]:
                    tags["last_error"] = _text(event["reason"], MAX_TAG)
                case "dataset":
                    self._dataset(event)
                case "text":
                    self._text(_key(event["name"]), event["text"])
                case "table":
                    tags |= self._table(event)
        for points in _parts(metrics, MAX_METRICS):
            self.client.log_batch(self.id, metrics=points)
        for given in _parts([Param(*pair) for pair in params.items()], MAX_KEYS):
            self.client.log_batch(self.id, params=given)
        self._status(events)
        for facts in _parts([RunTag(*pair) for pair in (tags | {SENT_TAG: str(end)}).items()], MAX_KEYS):
            self.client.log_batch(self.id, tags=facts)

    def _take_params(self, values: Mapping[str, str], params: dict[str, str], tags: dict[str, str]) -> None:
        """Parameters cannot change in MLflow: a new value of an old one becomes a tag."""
        for name, value in values.items():
            key, text = _key(name), _text(value, MAX_PARAM)
            if self.known.setdefault(key, text) == text:
                params[key] = text
            else:
                tags[_key(f"param_changed.{key}")] = text

    def _dataset(self, event: Event) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": _text(event["source"], MAX_TAG)})
        data = Dataset(_text(event["name"], MAX_NAME), event["digest"][:MAX_DIGEST], "local", source)
        self.client.log_inputs(self.id, [DatasetInput(data, [InputTag("mlflow.data.context", event["context"])])])

    def _table(self, event: Event) -> dict[str, str]:
        """In the form of mlflow.log_table, which itself would append to a table that is there. Returns its tag."""
        name = _key(event["name"])
        self._text(name, json.dumps({"columns": event["columns"], "data": event["data"]}))
        return {"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])}

    def _text(self, name: str, content: str) -> None:
        """An SQLite store has no server to send files to: they are laid where `make ui` serves them from."""
        where = self.run.info.artifact_uri
        if not (self.uri.startswith(SQLITE) and where.startswith(PROXIED)):
            self.client.log_text(self.id, content, name)
            return
        path = artifacts(self.uri) / where.removeprefix(PROXIED) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", errors="replace")

    def _status(self, events: Sequence[Event]) -> None:
        changes = [event for event in events if event["event"] in ("session", "status")]
        if changes and changes[-1]["event"] == "session":
            self.client.update_run(self.id, status=RUNNING)
        elif changes:
            self.client.set_terminated(self.id, changes[-1]["status"], changes[-1]["time"])


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
