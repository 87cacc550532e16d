"""Train one run: behind `contrastmask train`.

Reads the verified dataset and the split without novel masks; writes config.json, model.pth and train.json into the
run's folder. Stopped in any way, the same command goes on from the last checkpoint, in the same MLflow run, with
another number of GPUs too. Several GPUs: the command starts one process per GPU by torchrun; where there is no GPU,
that many processes on the CPU.
"""

import copy
import math
import os
import subprocess
import sys
import time
from typing import Any

from contrastmask.errors import DataError, GpuError
from contrastmask.runtime.files import check_unchanged, read_record, write_json
from contrastmask.runtime.gpu import lease
from contrastmask.runtime.locks import Interrupted, RunLock, Stop, on_signals
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.tracking import LOCK_NAME
from contrastmask.training.job import Job, open_tracker
from contrastmask.training.record import record_facts, step_facts, write_train_record


def total_iterations(config: dict[str, Any], n_images: int) -> int:
    """Length of the training: the schedule's multiple of 1x, or its own iterations where 1x is given in epochs."""
    schedule, one_x = config["schedule"], config["one_x"]
    length = schedule["length"]
    if "iterations" in one_x:
        return round(one_x["iterations"] * length)
    if "iterations" in schedule:
        return math.ceil(schedule["iterations"] * schedule["batch"] / config["batch"])
    return math.ceil(one_x["epochs"] * length * n_images / config["batch"])


# ---------------------------------------------------------------------------- one process


def train(job: Job, stop: Stop) -> None:
    """Train in this process, or as one of torchrun's: only the first records and writes."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.runner import Runner
    from torch.utils.data import DataLoader

    from contrastmask.models.common.norm import norm_images, synchronise
    from contrastmask.training import checkpoint
    from contrastmask.training.build import build_dataset, build_model
    from contrastmask.training.failures import readable
    from contrastmask.training.hooks import Record, Resume
    from contrastmask.training.steps import bare
    from contrastmask.training.stream import Stream, StreamSampler

    torch.set_num_threads(job.settings.scale["threads"])
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    images, workers = job.config["batch"] // world, job.settings.scale["workers"]  # of this process
    if "sha256" in job.split and not job.spec.uses_novel_masks:  # splits of before this check lack it
        check_unchanged(job.annotations, job.split["sha256"], job.settings.split(job.spec.setting))
    stream = Stream(build_dataset(job.config, job.dataset, "train", job.annotations), job.seed, job.config["batch"])
    total = total_iterations(job.config, len(stream))
    start, state = where_to_go_on(job, total)
    tracker = open_tracker(job) if rank == 0 else None
    progress = Progress("iteration", total, start)
    record = Record(tracker, total, job.config["batch"], progress if tracker else None)
    resume = Resume(job.work, job.identity, job.code, state, job.settings.scale["checkpoint_every"], stop, record)
    weights = str(job.settings.backbone_weights(job.config["backbone"])) if job.config["weights"] else None
    torch.manual_seed(job.seed)
    model = build_model(job.config, job.dataset, job.split, weights, job.priors)
    synchronised = world > 1 and torch.cuda.is_available()
    if synchronised:
        synchronise(model)
    step = step_facts(job, world, norm_images(model, job.settings.images_per_gpu * (world if synchronised else 1)))
    runner = Runner(
        model=model,
        work_dir=str(job.work / "mmengine"),
        train_dataloader=DataLoader(
            stream,
            batch_size=images,
            sampler=StreamSampler(start, total, images, rank, world),
            num_workers=workers,
            collate_fn=pseudo_collate,
            persistent_workers=workers > 0,
        ),
        train_cfg={
            "type": "StepLoop",
            "max_iters": total,
            "images": job.settings.images_per_gpu,
            "seed": job.seed,
        },
        optim_wrapper=optim_wrapper(job.config) | {"accumulative_counts": job.settings.passes},
        param_scheduler=schedulers(job.config, total),
        default_hooks=dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")),
        custom_hooks=[record, resume],
        launcher="pytorch" if world > 1 else "none",
        randomness={"seed": job.seed},  # without it mmengine draws a seed of its own for the first weights
        log_level="ERROR",
        default_scope="mmdet",
        cfg={"model_wrapper_cfg": join_processes()} if world > 1 else None,
    )
    if tracker is None:
        with readable():
            runner.train()
        return
    with tracker.session("train", start), progress, readable():
        record_facts(job, tracker, total, step)
        runner.train()
        meta = {"run": job.spec.id, "seed": job.seed, "identity": job.identity, "iterations": total}
        checkpoint.save_weights(job.folder / "model.pth", bare(runner.model).state_dict(), meta)
        write_train_record(job, tracker, total, step, resume.seconds, record.last)
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
    from contrastmask.training import checkpoint

    found = checkpoint.latest(job.work, identity=job.identity)
    if found is None:
        return 0, None
    start, state = found
    if start == total and state["code"] != job.code:
        print("this run was finished by other code: training it again from the start", flush=True)
        for file in job.work.glob("iter_*.pth"):
            file.unlink()
        return 0, None
    print(f"going on from iteration {start} of {total}", flush=True)
    return start, state


def optim_wrapper(config: dict[str, Any]) -> dict[str, Any]:
    """mmengine's optimiser wrapper; bf16 autocast with `amp`."""
    kind = {"type": "AmpOptimWrapper", "dtype": "bfloat16"} if config["amp"] else {"type": "OptimWrapper"}
    # copies: mmengine takes keys out of what it is given, and the configuration is the run's identity
    return kind | copy.deepcopy({"optimizer": config["optimizer"], "clip_grad": config["clip_grad"]})


def schedulers(config: dict[str, Any], total: int) -> list[dict[str, Any]]:
    """Linear warm-up, then a division by 10 at each drop."""
    drops = [round(share * total) for share in config["schedule"]["drops"]]
    warmup = min(config["warmup_iterations"], total)
    return [
        {"type": "LinearLR", "start_factor": config["warmup_factor"], "by_epoch": False, "begin": 0, "end": warmup},
        {"type": "MultiStepLR", "milestones": drops, "gamma": 0.1, "by_epoch": False, "begin": 0, "end": total},
    ]


# ---------------------------------------------------------------------------- command


def start(job: Job) -> int:
    """Lock the run, lease its GPUs, train here or by torchrun. Returns the exit code.

    Raises:
        GpuError: the GPUs that the settings ask for are not there.
    """
    if "LOCAL_RANK" in os.environ:  # one of torchrun's processes: its parent holds lock and lease
        _check_world(job.settings.gpus_per_run)
        with on_signals(patient=True) as stop:
            train(job, stop)
        return 0
    job.folder.mkdir(parents=True, exist_ok=True)
    with RunLock(job.work / LOCK_NAME), lease(job.settings.gpus_per_run) as gpus, on_signals() as stop:
        write_json(job.folder / "config.json", job.config)
        if _finished(job):  # a trainer that outlived its Snakemake has just done this run
            print(f"{job.spec.id} seed {job.seed} is trained already", flush=True)
            return 0
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        if job.settings.gpus_per_run > 1:
            return _torchrun(job, stop)
        train(job, stop)
    return 0


def _check_world(processes: int) -> None:
    if (world := int(os.environ["WORLD_SIZE"])) != processes:
        raise GpuError(
            f"torchrun started {world} processes, gpus_per_run is {processes}: `contrastmask train` calls it"
        )


def _finished(job: Job) -> bool:
    try:
        record = read_record(job.folder / "train.json", {"identity": str})
    except DataError:  # not there, or damaged: the training's checkpoint gives it again
        return False
    return (job.folder / "model.pth").exists() and record["identity"] == job.identity


def _torchrun(job: Job, stop: Stop) -> int:
    """Start this command once per GPU; a signal is handed on, and all processes leave at the same iteration."""
    from contrastmask.training import checkpoint

    checkpoint.latest(job.work, identity=job.identity)  # sets damaged files aside before several processes look
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command.append(f"--nproc_per_node={job.settings.gpus_per_run}")
    # without "--" torchrun takes --run for an abbreviation of its own options
    child = subprocess.Popen([*command, "-m", "--", "contrastmask", *sys.argv[1:]])
    told = False
    while child.poll() is None:
        if stop.requested and not told:
            child.send_signal(stop.signum)
            told = True
        time.sleep(0.5)
    if stop.requested:
        raise Interrupted(stop.signum)
    return child.returncode
