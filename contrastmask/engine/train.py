"""Train one run: `python -m contrastmask.engine.train --run ID --seed K [--settings JSON]`.

Reads the verified dataset and the split without novel masks; writes config.json, model.pth and train.json into the
run's folder. Stopped in any way, the same command goes on from the last checkpoint, in the same MLflow run. Several
GPUs: the command starts one process per GPU by torchrun.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from contrastmask.data.files import write_json
from contrastmask.engine.gpu import GpuError, lease
from contrastmask.engine.locks import Interrupted, RunLock, Stop, on_signals
from contrastmask.engine.provenance import code_digest, provenance
from contrastmask.engine.tracking import LOCK_NAME, Tracker, tracking_uri
from contrastmask.experiment import RunSpec, Settings, config_hash, find_run, load_tables, resolve
from contrastmask.yamlfiles import ConfigError


@dataclasses.dataclass(frozen=True)
class Job:
    """A run and everything that it reads."""

    settings: Settings
    spec: RunSpec
    seed: int
    config: dict[str, Any]
    dataset: dict[str, Any]
    split: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.settings.run_folder(self.spec.id, self.seed)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def identity(self) -> str:
        """What a checkpoint must be of to be gone on from: configuration, data, split and seed."""
        parts = [config_hash(self.config), self.dataset["digest"], self.split["digest"], str(self.seed)]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]

    @property
    def annotations(self) -> Path:
        """Training annotations without novel masks."""
        return self.settings.split(self.spec.setting).with_name("instances_train.json")


def load_job(settings: Settings, run: str, seed: int) -> Job:
    """Resolve a run and read its data's descriptions.

    Raises:
        ConfigError: unknown run, or the data has not been prepared.
    """
    spec = find_run(settings, run)
    dataset, split = settings.dataset, settings.split(spec.setting)
    for path in (dataset, split):
        if not path.exists():
            raise ConfigError(f"{path} is missing: run `snakemake --cores 1 {path}` first")
    return Job(
        settings, spec, seed, resolve(spec, settings), json.loads(dataset.read_text()), json.loads(split.read_text())
    )


def total_iterations(config: dict[str, Any], n_images: int) -> int:
    """Length of the training: the schedule's multiple of 1x."""
    length, one_x = config["schedule"]["length"], config["one_x"]
    if "iterations" in one_x:
        return round(one_x["iterations"] * length)
    return math.ceil(one_x["epochs"] * length * n_images / config["batch"])


# ---------------------------------------------------------------------------- one process


def train(job: Job, stop: Stop) -> None:
    """Train in this process, or as one of torchrun's: only the first records and writes."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    from contrastmask.engine import checkpoint
    from contrastmask.engine.build import build_dataset, build_model
    from contrastmask.engine.hooks import Determinism, Record, Resume, bare
    from contrastmask.engine.stream import Stream, StreamSampler

    torch.set_num_threads(job.settings.scale["threads"])
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    images, workers = job.config["batch"] // world, job.settings.scale["workers"]
    stream = Stream(build_dataset(job.config, job.dataset, "train", job.annotations), job.seed, job.config["batch"])
    total = total_iterations(job.config, len(stream))
    start, state = where_to_go_on(job, total)
    tracker = open_tracker(job) if rank == 0 else None
    record = Record(tracker, total, job.config["batch"])
    resume = Resume(job.work, job.identity, state, job.settings.scale["checkpoint_every"], stop, record)
    weights = str(job.settings.backbone_weights(job.spec.backbone)) if job.config["weights"] else None
    torch.manual_seed(job.seed)
    runner = Runner(
        model=build_model(job.config, job.dataset, job.split, weights),
        work_dir=str(job.work / "mmengine"),
        train_dataloader=DataLoader(
            stream,
            batch_size=images,
            sampler=StreamSampler(start, total, images, rank, world),
            num_workers=workers,
            collate_fn=pseudo_collate,
            persistent_workers=workers > 0,
        ),
        train_cfg={"type": "IterBasedTrainLoop", "max_iters": total, "fast_forward_on_resume": True},
        optim_wrapper=optim_wrapper(job.config),
        param_scheduler=schedulers(job.config, total),
        default_hooks=dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")),
        custom_hooks=[Determinism(job.seed), record, resume],
        launcher="pytorch" if world > 1 else "none",
        log_level="ERROR",
        default_scope="mmdet",
        cfg={"model_wrapper_cfg": join_processes()} if world > 1 else None,
    )
    if tracker is None:
        runner.train()
        return
    with tracker.session("train", start):
        record_facts(job, tracker, total)
        runner.train()
        meta = {"run": job.spec.id, "seed": job.seed, "identity": job.identity, "iterations": total}
        checkpoint.save_weights(job.folder / "model.pth", bare(runner.model).state_dict(), meta)
        write_train_record(job, tracker, total, resume.seconds, record.last)
    for older in job.work.glob("iter_*.pth"):
        if older.name != f"iter_{total}.pth":
            older.unlink()


def join_processes() -> dict[str, Any]:
    """Start torch.distributed, on GPUs by NCCL and otherwise by gloo; returns the model wrapper's configuration."""
    import torch

    cuda, local_rank = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if cuda:
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    devices = [local_rank] if cuda else None
    return {"type": "MMDistributedDataParallel", "device_ids": devices, "broadcast_buffers": False}


def where_to_go_on(job: Job, total: int) -> tuple[int, dict[str, Any] | None]:
    """Iteration and state of the newest good checkpoint, (0, None) without one.

    A finished training is taken as it is, in case its outputs were lost, unless the code has changed since: whoever
    asks for it again (`snakemake --forcerun train`) then wants it anew. A half-done one goes on even so.
    """
    from contrastmask.engine import checkpoint

    found = checkpoint.latest(job.work, identity=job.identity)
    if found is None:
        return 0, None
    start, state = found
    if start == total and state["code"] != code_digest():
        print("this run was finished by other code: training it again from the start", flush=True)
        for file in job.work.glob("iter_*.pth"):
            file.unlink()
        return 0, None
    print(f"going on from iteration {start} of {total}", flush=True)
    return start, state


def optim_wrapper(config: dict[str, Any]) -> dict[str, Any]:
    """mmengine's optimiser wrapper; bf16 autocast with `amp`."""
    kind = {"type": "AmpOptimWrapper", "dtype": "bfloat16"} if config["amp"] else {"type": "OptimWrapper"}
    return kind | {"optimizer": config["optimizer"], "clip_grad": config["clip_grad"]}


def schedulers(config: dict[str, Any], total: int) -> list[dict[str, Any]]:
    """Linear warm-up from a thousandth, then a division by 10 at each drop."""
    drops = [round(share * total) for share in config["schedule"]["drops"]]
    warmup = min(config["warmup_iterations"], total)
    return [
        {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": warmup},
        {"type": "MultiStepLR", "milestones": drops, "gamma": 0.1, "by_epoch": False, "begin": 0, "end": total},
    ]


# ---------------------------------------------------------------------------- records


def open_tracker(job: Job) -> Tracker:
    """The tracker of a run, shared by training and evaluation."""
    return Tracker(
        job.work,
        experiment=f"contrastmask/{job.settings.scale['name']}",
        run_name=f"{job.spec.id}/seed{job.seed}",
        uri=tracking_uri(job.settings.results),
    )


def record_facts(job: Job, tracker: Tracker, total: int) -> None:
    """Parameters, data, rows, provenance: what a person needs to trust the run and to compare it."""
    spec = job.spec
    rows = [
        f"{table.name}: {row.label or row.method}"
        for table in load_tables(job.settings).values()
        for row in table.rows
        if row.run == spec
    ]
    lr, batch = job.config["optimizer"]["lr"], job.config["batch"]
    tracker.params(
        {
            "method": spec.method,
            "backbone": spec.backbone,
            "schedule": spec.schedule,
            "setting": spec.setting,
            "preset": spec.preset,
            "seed": job.seed,
            "iterations": total,
            "batch": batch,
            "lr": lr,
        }
        | {f"option.{k}": v for k, v in job.config["model"]["roi_head"]["options"].items()}
    )
    tracker.tags(
        {
            "scale": job.settings.scale["name"],
            "note": job.settings.scale["note"],
            "table_rows": "; ".join(rows),
            "config.hash": config_hash(job.config),
            "data.digest": job.dataset["digest"],
            "split.digest": job.split["digest"],
            "code.digest": code_digest(),
        }
        | provenance()
    )
    tracker.dataset(job.dataset["name"], job.dataset["digest"], job.dataset["train"]["annotations"], "training")
    tracker.text("config.json", json.dumps(job.config, indent=1))


def write_train_record(job: Job, tracker: Tracker, total: int, seconds: float, losses: dict[str, float]) -> None:
    """train.json: what was trained, on what, how long."""
    import torch

    from contrastmask.engine.checkpoint import sha256

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
        "code_digest": code_digest(),
        "iterations": total,
        "batch": job.config["batch"],
        "lr": job.config["optimizer"]["lr"],
        "seconds": seconds,
        "gpu_memory_bytes": memory,
        "losses": losses,
        "checkpoint_sha256": digest,
        "provenance": provenance(),
    }
    write_json(job.folder / "train.json", record)


# ---------------------------------------------------------------------------- command


def start(job: Job) -> int:
    """Lock the run, lease its GPUs, train here or by torchrun. Returns the exit code."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with RunLock(job.work / LOCK_NAME), lease(job.settings.gpus_per_run) as gpus, on_signals() as stop:
        if _finished(job):  # a trainer that outlived its Snakemake has just done this run
            print(f"{job.spec.id} seed {job.seed} is trained already", flush=True)
            return 0
        write_json(job.folder / "config.json", job.config)
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        if len(gpus) > 1:
            return _torchrun(job, len(gpus), stop)
        train(job, stop)
    return 0


def _finished(job: Job) -> bool:
    record, weights = job.folder / "train.json", job.folder / "model.pth"
    return record.exists() and weights.exists() and json.loads(record.read_text())["identity"] == job.identity


def _torchrun(job: Job, processes: int, stop: Stop) -> int:
    """Start this command once per GPU; a signal is handed on, and all processes leave at the same iteration."""
    from contrastmask.engine import checkpoint

    checkpoint.latest(job.work, identity=job.identity)  # sets damaged files aside before several processes look
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    # without "--" torchrun takes --run for an abbreviation of its own options
    child = subprocess.Popen([*command, "-m", "--", "contrastmask.engine.train", *sys.argv[1:]])
    while True:
        try:
            code = child.wait(timeout=1)
            break
        except subprocess.TimeoutExpired:
            if stop.requested:
                child.send_signal(stop.signum)
    if stop.requested:
        raise Interrupted(stop.signum)
    return code


def parse_job(description: str | None, arguments: list[str] | None = None) -> Job:
    """The job that a command line names; a mistake ends the process with one message and code 2."""
    from contrastmask.experiment import settings_from_json

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", required=True, help="run id, as under results/<scale>/runs")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--settings", default="{}", help="JSON of what differs from configs/config.yaml")
    given = parser.parse_args(arguments)
    try:
        return load_job(settings_from_json(given.settings), given.run, given.seed)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


def main() -> int:
    job = parse_job(__doc__)
    try:
        if "LOCAL_RANK" in os.environ:  # one of torchrun's processes: its parent holds lock and lease
            with on_signals() as stop:
                train(job, stop)
            return 0
        return start(job)
    except GpuError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
