"""What a person needs to trust a training and to compare it: facts for MLflow, and train.json."""

import json
from typing import Any

from contrastmask.runtime.files import write_json
from contrastmask.runtime.provenance import provenance
from contrastmask.tracking.curves import Curves, set_aside
from contrastmask.training.run import Run


def step_facts(run: Run, processes: int, norm_images: int | None) -> dict[str, Any]:
    """What an optimisation step is made of. The recipe is the same for any number of GPUs; the rest says how it is met.

    Args:
        processes: one on each GPU, or on the CPU.
        norm_images: images that share RoIBatchNorm's statistics; None if the model has none.
    """
    images = run.decided["images_per_gpu"]
    recipe = {"batch": run.config["batch"], "lr": run.config["optimizer"]["lr"]}
    group = run.options.get("query_group_size")
    if group:  # ContrastMask's queries and its projector's BatchNorm
        recipe["query_group_images"] = min(group, images)
    if norm_images:  # depends on the number of GPUs where BatchNorm is synchronised
        recipe["norm_images"] = norm_images
    passes = run.config["batch"] // (processes * images)
    return recipe | {"gpus_per_run": processes, "images_per_gpu": images, "passes": passes}


def record_facts(run: Run, tracker: Curves, total: int, step: dict[str, Any]) -> None:
    """The facts of a training: of the run, and what only a training has; `step` from `step_facts`."""
    record_run(run, tracker, {"iterations": total} | step)
    tracker.dataset(run.dataset["name"], run.dataset["digest"], run.dataset["train"]["annotations"], "training")


def begin_record(run: Run, start: int) -> Curves:
    """The record of a training from iteration `start`: a new one unless it goes on with what the old one is of."""
    if start == 0:
        set_aside(run.folder, _made_of(run))
    return Curves(run.folder, run.title)


def _made_of(run: Run) -> dict[str, str]:
    return {
        "config.hash": run.config_hash,
        "data.digest": run.dataset["digest"],
        "split.digest": run.split["digest"],
        "code.digest": run.code,
    }


def record_run(run: Run, tracker: Curves, params: dict[str, Any]) -> None:
    """Parameters, rows, provenance: what a person needs to trust the run and to compare it."""
    names = ("run", "method", "backbone", "schedule", "setting", "preset", "seed")
    tracker.params(
        {name: run.decided[name] for name in names} | params | {f"option.{k}": v for k, v in run.options.items()}
    )
    tracker.tags(
        {
            "scale": run.scale,
            "note": run.decided["scale"]["note"],
            "table_rows": "; ".join(run.decided["table_rows"]),
            "source": "contrastmask",
            "description": f"Rows: {'; '.join(run.decided['table_rows']) or 'none'}  \n"
            f"Scale: {run.decided['scale']['note']}  \nFiles: `{run.scale}/runs/{run.id}/seed{run.seed}` under results",
        }
        | _made_of(run)
        | provenance()
    )
    tracker.text("config.json", json.dumps(run.decided, indent=1))


def write_train_record(
    run: Run, tracker: Curves, total: int, step: dict[str, Any], seconds: float, losses: dict[str, float]
) -> None:
    """train.json: what was trained, on what, how long."""
    import torch

    from contrastmask.training.checkpoint import sha256

    digest = sha256(run.folder / "model.pth")
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    tracker.tags({"checkpoint.sha256": digest, "checkpoint.path": str(run.folder / "model.pth")})
    tracker.metrics({"train/seconds": seconds}, step=total, final=True)
    record = {
        "run": run.id,
        "seed": run.seed,
        "scale": run.scale,
        "preset": run.decided["preset"],
        "config_hash": run.config_hash,
        "identity": run.identity,
        "data_digest": run.dataset["digest"],
        "split_digest": run.split["digest"],
        "code_digest": run.code,
        "iterations": total,
        **step,
        "seconds": seconds,
        "gpu_memory_bytes": memory,
        "losses": losses,
        "checkpoint_sha256": digest,
        "provenance": provenance(),
    }
    write_json(run.folder / "train.json", record)
