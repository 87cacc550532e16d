"""The one check at the end of every fault: as if nothing had happened, and nothing is left of what did."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
from faults.micro import ITERATIONS, MARK, Results
from mlflow import MlflowClient

from contrastmask.runtime.locks import RunLock
from contrastmask.tracking.curves import LOCK_NAME
from contrastmask.tracking.store import artifacts, tracking_uri


def check(results: Results, undisturbed: Results) -> None:
    """AssertionError unless tables, weights and MLflow are those of the undisturbed results, and nothing is left."""
    nothing_is_left(results)
    results_are_equal(results, undisturbed)
    mlflow_tells_the_truth(results, undisturbed)


def results_are_equal(results: Results, undisturbed: Results) -> None:
    """Same table, same metrics, same weights: on a CPU a training that went on is the undisturbed one."""
    pd.testing.assert_frame_equal(pd.read_csv(results.table), pd.read_csv(undisturbed.table))
    for name, own in (("metrics.json", {"seconds"}), ("train.json", {"seconds", "provenance", "gpu_memory_bytes"})):
        ours, theirs = (read(each.run / name) for each in (results, undisturbed))
        assert {k: v for k, v in ours.items() if k not in own} == {k: v for k, v in theirs.items() if k not in own}
    ours, theirs = (torch.load(each.run / "model.pth", weights_only=True) for each in (results, undisturbed))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(value, ours["state_dict"][key]) for key, value in theirs["state_dict"].items())


def mlflow_tells_the_truth(results: Results, undisturbed: Results) -> None:
    """One finished run, with parameters, curves and metrics of the files, every point once."""
    run, _ = only_run(results)
    reference, _ = only_run(undisturbed)
    assert run.info.status == "FINISHED"
    assert run.data.params == reference.data.params
    assert run.data.tags["checkpoint.sha256"] == read(results.run / "train.json")["checkpoint_sha256"]
    assert not [tag for tag in run.data.tags if tag.startswith("param_changed")]
    metrics, record = read(results.run / "metrics.json"), read(results.run / "train.json")
    for kind in ("segm", "bbox"):
        for subset, values in metrics[kind].items():
            for name, value in values.items():
                assert run.data.metrics.get(f"{kind}/{subset}/{name}") == value
    for name, last in record["losses"].items():
        curves = [
            # by step: MLflow lists them by wall clock, which one of the faults sets back
            sorted((p.step, p.value) for p in history(each, one, f"train/{name}"))
            for each, one in ((results, run), (undisturbed, reference))
        ]
        assert curves[0] == curves[1]
        assert [step for step, _ in curves[0]] == list(range(1, ITERATIONS + 1)) and curves[0][-1][1] == last
    assert list(artifacts(tracking_uri(results.folder)).rglob(f"{run.info.run_id}/artifacts/config.json"))


def nothing_is_left(results: Results) -> None:
    """No process, no lock, no half-written file."""
    assert not processes_of(results)
    assert not RunLock(results.work / LOCK_NAME).held()
    assert not [str(path) for path in results.folder.rglob("*") if path.suffix in (".tmp", ".new", ".part")]


def processes_of(results: Results) -> list[psutil.Process]:
    """Processes that a command of these results started and that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = os.getpgid(process.pid) in results.groups or process.environ().get(MARK) == str(results.folder)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def only_run(results: Results) -> tuple[Any, MlflowClient]:
    """The one MLflow run that these results may have, and a client of its store."""
    client = MlflowClient(uri(results))
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return run, client


def history(results: Results, run: Any, metric: str) -> list[Any]:
    """Every point of a metric that MLflow has."""
    return MlflowClient(uri(results)).get_metric_history(run.info.run_id, metric)


def uri(results: Results) -> str:
    return f"sqlite:///{results.folder / 'mlflow.db'}"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
