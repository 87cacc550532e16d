"""The one check at the end of every fault: as if nothing had happened, and nothing is left of what did."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from faults.harness import ITERATIONS, Results
from mlflow import MlflowClient

from contrastmask.runtime.locks import RunLock
from contrastmask.tracking.curves import LOCK_NAME
from contrastmask.tracking.store import artifacts, tracking_uri

OWN = {"seconds", "provenance", "gpu_memory_bytes"}  # of each training


def check(results: Results, undisturbed: Results) -> None:
    """AssertionError unless tables, weights and MLflow are those of the undisturbed results, and nothing is left."""
    assert not results.processes()
    lock = RunLock(results.run / "work" / LOCK_NAME)
    assert lock.acquire(wait=False)
    lock.release()
    assert not [str(path) for path in results.folder.rglob("*") if path.suffix in (".tmp", ".new", ".part")]
    results_are_equal(results, undisturbed)
    mlflow_tells_the_truth(results, undisturbed)


def results_are_equal(results: Results, undisturbed: Results) -> None:
    """Same table, same metrics, same weights: on a CPU a training that went on is the undisturbed one."""
    pd.testing.assert_frame_equal(pd.read_csv(results.table), pd.read_csv(undisturbed.table))
    for name in ("metrics.json", "train.json"):
        ours, theirs = (read(each.run / name) for each in (results, undisturbed))
        assert {k: v for k, v in ours.items() if k not in OWN} == {k: v for k, v in theirs.items() if k not in OWN}
    ours, theirs = (torch.load(each.run / "model.pth", weights_only=True) for each in (results, undisturbed))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(value, ours["state_dict"][key]) for key, value in theirs["state_dict"].items())


def mlflow_tells_the_truth(results: Results, undisturbed: Results) -> None:
    """One finished run, with parameters, curves and metrics of the files, every point once."""
    run, reference = only_run(results), only_run(undisturbed)
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
        # by step: MLflow lists them by wall clock, which one of the faults sets back
        curve, theirs = (
            sorted((p.step, p.value) for p in client(each).get_metric_history(one.info.run_id, f"train/{name}"))
            for each, one in ((results, run), (undisturbed, reference))
        )
        assert curve == theirs and [step for step, _ in curve] == list(range(1, ITERATIONS + 1))
        assert curve[-1][1] == last
    assert list(artifacts(tracking_uri(results.folder)).rglob(f"{run.info.run_id}/artifacts/config.json"))


def client(results: Results) -> MlflowClient:
    return MlflowClient(f"sqlite:///{results.folder / 'mlflow.db'}")


def only_run(results: Results) -> Any:
    """The one MLflow run that these results may have."""
    store = client(results)
    every = store.search_runs([each.experiment_id for each in store.search_experiments()])
    (run,) = (run for run in every if run.data.params)  # the others are of tables
    return run


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
