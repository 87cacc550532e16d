"""Train one run: behind `contrastmask train`.

Reads the verified dataset and the split without novel masks; writes config.json, model.pth and train.json into the
run's folder. Stopped in any way, the same command goes on from the last checkpoint, in the same MLflow run, with
another number of GPUs too. Several GPUs: one process on each (processes.py).
"""

import copy
import math
import os
from typing import Any

from contrastmask.errors import ConfigError, DataError, GpuError
from contrastmask.runtime.files import check_unchanged, read_record
from contrastmask.runtime.gpu import lease
from contrastmask.runtime.locks import RunLock, Stop, on_signals
from contrastmask.runtime.progress import Progress
from contrastmask.tracking.curves import LOCK_NAME
from contrastmask.tracking.sync import live
from contrastmask.training import processes
from contrastmask.training.record import begin_record, record_facts, step_facts, write_train_record
from contrastmask.training.run import Run


def total_iterations(config: dict[str, Any], n_images: int) -> int:
    """Length of the training: the schedule's multiple of 1x, or its own iterations where 1x is given in epochs."""
    schedule, one_x = config["schedule"], config["one_x"]
    length = schedule["length"]
    if "iterations" in one_x:
        return max(1, round(one_x["iterations"] * length))
    if "iterations" in schedule:
        return math.ceil(schedule["iterations"] * schedule["batch"] / config["batch"])
    return math.ceil(one_x["epochs"] * length * n_images / config["batch"])


# ---------------------------------------------------------------------------- one process


def train(run: Run, stop: Stop) -> None:
    """Train in this process, or as one of several: only the first records and writes."""
    import torch

    from contrastmask.models.common.norm import norm_images, synchronise
    from contrastmask.training import checkpoint
    from contrastmask.training.build import build_model
    from contrastmask.training.failures import readable
    from contrastmask.training.hooks import Record, Resume, shown_to_hooks
    from contrastmask.training.steps import TrainingProgress

    torch.set_num_threads(run.decided["threads"])
    rank, world = processes.place()
    stream = open_stream(run)
    total = total_iterations(run.config, len(stream))
    start, state = where_to_go_on(run, total)
    tracker = begin_record(run, start) if rank == 0 else None
    progress = Progress("iteration", total, start)
    record = Record(tracker, total, run.config["batch"], progress if tracker else None, "visualizer" in run.config)
    resume = Resume(run, state, stop, record)
    weights, priors = run.file_or_none("weights"), run.file_or_none("priors")
    torch.manual_seed(run.seed)
    model = build_model(run.config, run.dataset, run.split, str(weights) if weights else None, priors)
    synchronised = world > 1 and torch.cuda.is_available()
    if synchronised:
        synchronise(model)
    step = step_facts(run, world, norm_images(model, run.decided["images_per_gpu"] * (world if synchronised else 1)))
    hooks = [TrainingProgress(), *starting_weights(run), record, resume]
    runner = build_runner(run, model, stream, hooks, range(start, total))
    if tracker is None:
        with readable():
            runner.train()
        return
    with live(run.folder), tracker.session("train", start), progress, readable():
        record_facts(run, tracker, total, step)
        runner.train()
        meta = {"run": run.id, "seed": run.seed, "identity": run.identity, "iterations": total}
        checkpoint.save_weights(run.folder / "model.pth", shown_to_hooks(runner)[0], meta)
        write_train_record(run, tracker, total, step, resume.seconds, record.last)
    for older in run.work.glob("iter_*.pth"):
        if older.name != f"iter_{total}.pth":
            older.unlink()


def open_stream(run: Run) -> Any:
    """The training images, from the annotations that were verified; DataError if they have changed since."""
    from contrastmask.training.build import build_dataset
    from contrastmask.training.stream import Stream

    annotations = run.file("annotations")
    if "sha256" in run.split and not run.uses_novel_masks:  # splits of before this check lack it
        check_unchanged(annotations, run.split["sha256"], run.file("split"))
    return Stream(build_dataset(run.config, run.dataset, "train", annotations), run.seed, run.config["neighbours"])


def build_runner(run: Run, model: Any, stream: Any, hooks: list[Any], iterations: range) -> Any:
    """mmengine's runner of this process, which joins the others; `iterations` are those left to do."""
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    from contrastmask.training.extensions import extended_runner
    from contrastmask.training.stream import StreamSampler

    total, (rank, world) = iterations.stop, processes.place()
    images, workers = run.config["batch"] // world, run.decided["workers"]  # of this process
    return extended_runner(
        run.config,
        hooks,
        model=model,
        work_dir=str(run.work / "mmengine"),
        train_dataloader=DataLoader(
            stream,
            batch_size=images,
            sampler=StreamSampler(iterations.start, total, images, (rank, world)),
            num_workers=workers,
            collate_fn=pseudo_collate,
            persistent_workers=workers > 0,
        ),
        train_cfg={"type": "StepLoop", "max_iters": total, "images": run.decided["images_per_gpu"], "seed": run.seed},
        optim_wrapper=optim_wrapper(run.config) | {"accumulative_counts": run.passes},
        param_scheduler=schedulers(run.config, total),
        default_hooks=dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint")),
        launcher="pytorch" if world > 1 else "none",
        randomness={"seed": run.seed},  # without it mmengine draws a seed of its own for the first weights
        log_level="ERROR",
        default_scope="mmdet",
        cfg={"model_wrapper_cfg": processes.join()} if world > 1 else None,
    )


def starting_weights(run: Run) -> list[Any]:
    """The hook that loads the scale's detector, if the run starts from one.

    Raises:
        ConfigError: the detector is not trained.
    """
    from contrastmask.training.hooks import StartFrom

    weights = run.file_or_none("start")
    if weights is None:
        return []
    if not weights.exists():
        raise ConfigError(f"{weights} is missing: train {run.config['start']['run']} first, from which this run starts")
    return [StartFrom(weights)]


def where_to_go_on(run: Run, total: int) -> tuple[int, dict[str, Any] | None]:
    """Iteration and state of the newest good checkpoint, (0, None) without one.

    A finished training is taken as it is, in case its outputs were lost, unless the code has changed since: whoever
    asks for it again (`snakemake --forcerun train`) then wants it anew. A half-done one goes on even so.
    """
    from contrastmask.training import checkpoint

    found = checkpoint.latest(run.work, identity=run.identity)
    if found is None:
        return 0, None
    start, state = found
    if start == total and state["code"] != run.code:
        print("this run was finished by other code: training it again from the start", flush=True)
        for file in run.work.glob("iter_*.pth"):
            file.unlink()
        return 0, None
    print(f"going on from iteration {start} of {total}", flush=True)
    return start, state


def optim_wrapper(config: dict[str, Any]) -> dict[str, Any]:
    """mmengine's optimiser wrapper; bf16 autocast with `amp`. Where torch can, one operator steps all weights."""
    kind = {"type": "AmpOptimWrapper", "dtype": "bfloat16"} if config["amp"] else {"type": "OptimWrapper"}
    # copies: mmengine takes keys out of what it is given, and the configuration is the run's identity
    optimizer = copy.deepcopy(config["optimizer"])
    if optimizer["type"] in ("SGD", "Adam", "AdamW") and not optimizer.keys() & {"fused", "foreach"}:
        optimizer["fused"] = True
    found = {"optimizer": optimizer, "paramwise_cfg": config["paramwise"], "clip_grad": config["clip_grad"]}
    return kind | copy.deepcopy(found)


def schedulers(config: dict[str, Any], total: int) -> list[dict[str, Any]]:
    """Linear warm-up, then a division by 10 at each drop."""
    drops = [round(share * total) for share in config["schedule"]["drops"]]
    found = [{"type": "MultiStepLR", "milestones": drops, "gamma": 0.1, "by_epoch": False, "begin": 0, "end": total}]
    if config["warmup_iterations"] < 2:  # LinearLR cannot be without any, and never leaves a single one's rate
        return found
    factor, end = config["warmup_factor"], min(config["warmup_iterations"], total)
    return [{"type": "LinearLR", "start_factor": factor, "by_epoch": False, "begin": 0, "end": end}, *found]


# ---------------------------------------------------------------------------- command


def start(run: Run) -> None:
    """Lock the run, lease its GPUs, train here and in as many processes as it has GPUs.

    Raises:
        ConfigError: it is a run that another one's detections are segmented for.
        GpuError: the GPUs that config.json asks for are not there, or torchrun started this.
        Interrupted: it was asked to stop, and has saved a checkpoint.
    """
    from contrastmask.training import checkpoint

    if run.decided["files"]["detector"]:
        detector = run.config["detector"]["run"]
        raise ConfigError(f"{run.id} segments what {detector} detects and is not trained: `contrastmask evaluate` it")
    if processes.is_follower():
        with processes.following() as stop:
            train(run, stop)
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise GpuError("`contrastmask train` starts a process for each GPU itself: call it without torchrun")
    gpus_per_run = run.decided["gpus_per_run"]
    with RunLock(run.work / LOCK_NAME), lease(gpus_per_run) as gpus, on_signals() as stop:
        if _finished(run):  # a trainer that outlived its Snakemake has just done this run
            print(f"{run.id} seed {run.seed} is trained already", flush=True)
            return
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        checkpoint.latest(run.work, identity=run.identity)  # sets damaged files aside before several processes look
        with processes.started(run.folder, run.work, gpus_per_run):
            train(run, stop)


def _finished(run: Run) -> bool:
    try:
        record = read_record(run.folder / "train.json", {"identity": str})
    except DataError:  # not there, or damaged: the training's checkpoint gives it again
        return False
    return (run.folder / "model.pth").exists() and record["identity"] == run.identity
