"""Shipping: keep each MLflow run equal to its spool.

Sending is repeatable: MLflow drops a point that it already has (same run, key, time, step, value), parameters and
tags are set to what they are, and a run is found again by the id of its spool. So a crash between sending and
noting what was sent costs nothing, and a lost database is filled again from the spools.

MLflow is imported inside functions: the import costs seconds and most callers never need it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock

from contrastmask.tracking.spool import RUNNING, Event, Spool
from contrastmask.tracking.store import StoreError, connect, experiment_id, reason, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
SPOOL_TAG = "contrastmask.spool"
SHIP_TIMEOUT_S = 30.0
MAX_METRICS, MAX_KEYS = 1000, 100  # what MLflow takes in one request


@dataclass(frozen=True)
class Mark:
    """How much of a spool has been sent, and to where. Kept beside the spool."""

    spool: str
    uri: str  # without its password
    run_id: str
    offset: int  # bytes

    @staticmethod
    def path(spool: Spool) -> Path:
        return spool.path.with_name("tracking.offset.json")

    @classmethod
    def load(cls, spool: Spool) -> Mark | None:
        """None if there is none or it is damaged: then the run is found by its tag and sent again."""
        try:
            return cls(**json.loads(cls.path(spool).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, spool: Spool) -> None:
        draft = self.path(spool).with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self)))
        os.replace(draft, self.path(spool))


def ship(spool: Spool, uri: str) -> int:
    """Send what MLflow does not have yet; number of lines sent. Raises StoreError; repeat it later.

    A run that somebody deleted in MLflow stays deleted.
    """
    try:
        header = spool.header()
        if header is None:
            return 0
        with FileLock(spool.path.with_name("tracking.ship.lock"), timeout=SHIP_TIMEOUT_S):
            client = connect(uri)
            run, mark = _open_run(client, spool, header, uri)
            return 0 if run.info.lifecycle_stage == "deleted" else _ship_from(client, spool, mark)
    except Exception as error:
        connect.cache_clear()
        if isinstance(error, StoreError):
            raise
        raise StoreError(shown(f"cannot send {spool.path} to {uri}: {reason(error)}")) from error


def _ship_from(client: MlflowClient, spool: Spool, mark: Mark) -> int:
    spool.to_disk()
    sent = 0
    for events, end in _portions(spool, mark.offset):
        _send(client, mark.run_id, events)
        mark = replace(mark, offset=end)
        mark.save(spool)
        sent += len(events)
    return sent


def _portions(spool: Spool, offset: int) -> Iterator[tuple[list[Event], int]]:
    """Lines in portions of about one request, each with the offset after it."""
    events: list[Event] = []
    n_values, end = 0, offset
    for event, end in spool.read(offset):
        if event is not None:
            events.append(event)
            n_values += len(event["values"]) if event["event"] == "metrics" else 1
        if n_values >= MAX_METRICS:
            yield events, end
            events, n_values = [], 0
    if events:
        yield events, end


def _open_run(client: MlflowClient, spool: Spool, header: Event, uri: str) -> tuple[Run, Mark]:
    """The MLflow run of the spool, and from where to send: where we stopped, or the start if the run is another."""
    mark = Mark.load(spool)
    if mark and mark.spool == header["id"] and mark.uri == shown(uri) and (run := _get_run(client, mark.run_id)):
        valid = mark.offset <= spool.path.stat().st_size and spool.ends_line(mark.offset)
        return run, mark if valid else replace(mark, offset=0)
    run = _find_or_create(client, header, uri)
    return run, Mark(header["id"], shown(uri), run.info.run_id, 0)


def _get_run(client: MlflowClient, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _find_or_create(client: MlflowClient, header: Event, uri: str) -> Run:
    from mlflow.entities import ViewType

    experiment = experiment_id(client, header["experiment"], uri)
    query = f"tags.`{SPOOL_TAG}` = '{header['id']}'"
    found = client.search_runs([experiment], query, run_view_type=ViewType.ALL, max_results=1)
    if found:
        return found[0]
    tags = {SPOOL_TAG: header["id"]}
    return client.create_run(experiment, header["time"], tags, header["name"])


def _send(client: MlflowClient, run_id: str, events: Sequence[Event]) -> None:
    """Apply events to the run; of several tags of one name and of several statuses, the last one counts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    metrics, params, tags, inputs = [], {}, {}, []
    for event in events:
        match event["event"]:
            case "metrics":
                metrics += [
                    Metric(key, _plottable(value), event["time"], event["step"])
                    for key, value in event["values"].items()
                ]
            case "params":
                params.update(event["values"])
            case "tags":
                tags.update(event["values"])
            case "input":
                data = Dataset(event["name"], event["digest"], "local", json.dumps({"uri": event["source"]}))
                inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", event["context"])]))
            case "text":
                client.log_text(run_id, event["text"], event["name"])
    for some_metrics in _parts(metrics, MAX_METRICS):
        client.log_batch(run_id, metrics=some_metrics)
    for some_params in _parts([Param(key, value) for key, value in params.items()], MAX_KEYS):
        client.log_batch(run_id, params=some_params)
    for some_tags in _parts([RunTag(key, value) for key, value in tags.items()], MAX_KEYS):
        client.log_batch(run_id, tags=some_tags)
    if inputs:
        client.log_inputs(run_id, inputs)
    _send_status(client, run_id, events)


def _send_status(client: MlflowClient, run_id: str, events: Sequence[Event]) -> None:
    changes = [event for event in events if event["event"] in ("session", "status")]
    if not changes:
        return
    if changes[-1]["event"] == "session":
        client.update_run(run_id, status=RUNNING)
    else:
        client.set_terminated(run_id, changes[-1]["status"], changes[-1]["time"])


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _plottable(value: float | str) -> float:
    """MLflow would store infinity as 1.8e308, which flattens the curve: show it as the gap that nan makes."""
    return float(value) if math.isfinite(float(value)) else math.nan
