"""What a person needs to trust a training and to compare it: facts for MLflow, and train.json."""

import json
from typing import Any

from contrastmask.config import config_hash, load_tables
from contrastmask.runtime.files import write_json
from contrastmask.runtime.provenance import provenance
from contrastmask.tracking.tracking import Tracker
from contrastmask.training.job import Job


def step_facts(job: Job, processes: int, norm_images: int | None) -> dict[str, Any]:
    """What an optimisation step is made of. The recipe is the same for any number of GPUs; the rest says how it is met.

    Args:
        processes: one on each GPU, or on the CPU.
        norm_images: images that share RoIBatchNorm's statistics; None if the model has none.
    """
    images = job.settings.images_per_gpu
    recipe = {"batch": job.config["batch"], "lr": job.config["optimizer"]["lr"]}
    group = job.config["model"]["roi_head"]["options"].get("query_group_size")
    if group:  # ContrastMask's queries and its projector's BatchNorm
        recipe["query_group_images"] = min(group, images)
    if norm_images:  # depends on the number of GPUs where BatchNorm is synchronised
        recipe["norm_images"] = norm_images
    passes = job.config["batch"] // (processes * images)
    return recipe | {"gpus_per_run": processes, "images_per_gpu": images, "passes": passes}


def record_facts(job: Job, tracker: Tracker, total: int, step: dict[str, Any]) -> None:
    """The facts of a training: of the run, and what only a training has; `step` from `step_facts`."""
    record_run(job, tracker, {"iterations": total} | step, job.config["model"]["roi_head"]["options"])
    tracker.dataset(job.dataset["name"], job.dataset["digest"], job.dataset["train"]["annotations"], "training")


def record_run(job: Job, tracker: Tracker, params: dict[str, Any], options: dict[str, Any]) -> None:
    """Parameters, rows, provenance: what a person needs to trust the run and to compare it."""
    spec = job.spec
    rows = [
        f"{table.name}: {row.label or row.method}"
        for table in load_tables(job.settings).values()
        for row in table.rows
        if row.run and spec in (row.run, row.run.detector)
    ]
    tracker.params(
        {
            "run": spec.id,
            "method": spec.method,
            "backbone": spec.backbone,
            "schedule": spec.schedule,
            "setting": spec.setting,
            "preset": spec.preset,
            "seed": job.seed,
        }
        | params
        | {f"option.{k}": v for k, v in options.items()}
    )
    tracker.tags(
        {
            "scale": job.settings.scale["name"],
            "note": job.settings.scale["note"],
            "table_rows": "; ".join(rows),
            "config.hash": config_hash(job.config),
            "data.digest": job.dataset["digest"],
            "split.digest": job.split["digest"],
            "code.digest": job.code,
        }
        | provenance()
    )
    tracker.text("config.json", json.dumps(job.config, indent=1))


def write_train_record(
    job: Job, tracker: Tracker, total: int, step: dict[str, Any], seconds: float, losses: dict[str, float]
) -> None:
    """train.json: what was trained, on what, how long."""
    import torch

    from contrastmask.training.checkpoint import sha256

    digest = sha256(job.folder / "model.pth")
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    tracker.tags({"checkpoint.sha256": digest, "checkpoint.path": str(job.folder / "model.pth")})
    tracker.metrics({"train/seconds": seconds}, step=total, final=True)
    record = {
        "run": job.spec.id,
        "seed": job.seed,
        "scale": job.settings.scale["name"],
        "preset": job.spec.preset,
        "config_hash": config_hash(job.config),
        "identity": job.identity,
        "data_digest": job.dataset["digest"],
        "split_digest": job.split["digest"],
        "code_digest": job.code,
        "iterations": total,
        **step,
        "seconds": seconds,
        "gpu_memory_bytes": memory,
        "losses": losses,
        "checkpoint_sha256": digest,
        "provenance": provenance(),
    }
    write_json(job.folder / "train.json", record)
