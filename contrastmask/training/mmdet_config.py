"""A run as a plain mmdet 3 configuration: behind `contrastmask export-config`.

mmengine's `Runner.from_cfg` trains from it, with this project's order of images, random numbers and warm-up of losses;
mmdet's `init_detector` and `inference_detector` run what came out. Where a run's batch fits a GPU in one pass, its
steps are this project's bit for bit. Otherwise BatchNorm and losses see the whole batch of a process at once.
"""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from contrastmask.training.build import build_dataset, dataset_config, model_config
from contrastmask.training.run import Run
from contrastmask.training.train import optim_wrapper, schedulers, total_iterations

#: Modules that register with mmdet and mmengine what the configuration names.
IMPORTS = (
    "contrastmask.models",
    "contrastmask.data.transforms",
    "contrastmask.training.steps",
    "contrastmask.training.stream",
)
HEADER = """# {run}, seed {seed}, for mmdet. Import contrastmask.models before mmdet, for mmcv's operators.
#   import contrastmask.models
#   from mmengine.config import Config
#   from mmengine.runner import Runner
#   Runner.from_cfg(Config.fromfile({out!r})).train()
#   from mmdet.apis import inference_detector, init_detector
#   model = init_detector({out!r}, "work_dirs/iter_{total}.pth", device="cpu")
#   inference_detector(model, "photo.jpg")
"""


def mmdet_config(run: Run) -> dict[str, Any]:
    """The configuration, with absolute paths."""
    config, annotations = run.config, run.file("annotations")
    total = total_iterations(config, len(build_dataset(config, run.dataset, "train", annotations)))
    weights = run.file_or_none("weights")
    train = dataset_config(config, run.dataset, "train", annotations) | {"type": "CocoDataset"}
    test = dataset_config(config, run.dataset, "val") | {"type": "CocoDataset"}
    workers, images = run.decided["workers"], config["batch"]
    return {
        "default_scope": "mmdet",
        "custom_imports": {"imports": [*IMPORTS, *config.get("custom_imports", [])], "allow_failed_imports": False},
        "model": model_config(config, run.dataset, run.split, str(weights) if weights else None),
        "train_dataloader": {
            "batch_size": images,
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "sampler": {"type": "StreamSampler", "start": 0, "stop": total, "images": images},
            "dataset": {"type": "Stream", "dataset": train, "seed": run.seed, "neighbours": config["neighbours"]},
        },
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": total},
        "test_dataloader": {
            "batch_size": 1,
            "num_workers": workers,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": test,
        },
        "test_cfg": {"type": "TestLoop"},
        "test_evaluator": {"type": "CocoMetric", "ann_file": test["ann_file"], "metric": ["bbox", "segm"]},
        "optim_wrapper": optim_wrapper(config),
        "param_scheduler": schedulers(config, total),
        "custom_hooks": [
            {"type": "TrainingProgress"},
            {"type": "StepSeed", "seed": run.seed},
            *config.get("custom_hooks", []),
        ],
        **({"visualizer": config["visualizer"]} if "visualizer" in config else {}),
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": run.decided["checkpoint_every"]}
        },
        "log_processor": {"by_epoch": False},
        "randomness": {"seed": run.seed},
        "work_dir": "work_dirs",
    }


def write(run: Run, out: Path) -> None:
    """Write the configuration of a run to the Python file `out`."""
    config = mmdet_config(run)
    header = HEADER.format(run=run.id, seed=run.seed, out=out.name, total=config["train_cfg"]["max_iters"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(header + Config(config).pretty_text, encoding="utf-8")
