"""What must not change when code is moved: identities of runs, and the losses of first steps.

python -m tests.golden.golden        writes golden.json anew; say in the commit why, and the largest difference
"""

import json
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("golden.json")
SCALES = {"smoke": {}, "paper": {"data_root": "none"}}
STEPS = 3


def shipped(folder: Path) -> set[str]:
    """Names of the tables in a folder that the project ships: not those of one's own, which git does not know.

    Without git or outside a checkout: all of them.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--", "*.yaml"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = [path.name for path in folder.glob("*.yaml")]
    return {Path(name).stem for name in listed if name}


def identities() -> dict[str, dict[str, str]]:
    """Scale: run id: hash of the resolved configuration, of every run of every table that is shipped."""
    from contrastmask.config import all_runs, config_hash, load_tables, resolve, settings_with
    from contrastmask.paths import CONFIGS

    found, ours = {}, shipped(CONFIGS / "tables")
    for scale, data in SCALES.items():
        settings = settings_with({"scale": scale, "gpus_per_run": 1} | data)
        runs = all_runs({name: table for name, table in load_tables(settings).items() if name in ours})
        found[scale] = {run: config_hash(resolve(spec, settings)) for run, spec in sorted(runs.items())}
    return found


def smoke_systems() -> list[Any]:
    """Every network of some tables, and the first of each method that only others name, as scale smoke trains it."""
    from benchmarks.systems import TABLES, systems, without_data
    from contrastmask.paths import CONFIGS

    settings, main = without_data("smoke"), (*TABLES, "table2", "controls")
    found = systems(settings, main, backbone="r50")
    others = systems(settings, sorted(shipped(CONFIGS / "tables") - {*main}), backbone="r50")
    held = {system.spec.method for system in found}
    return found + list({s.spec.method: s for s in reversed(others) if s.spec.method not in held}.values())


def smoke_data(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """dataset.json, split.json and the training annotations of scale smoke, made in `folder`."""
    from benchmarks.systems import without_data
    from contrastmask.data.dataset import prepare
    from contrastmask.data.splits import write_split

    described = folder / "dataset.json"
    dataset = prepare(without_data("smoke").scale["dataset"], folder / "images", described)
    split = write_split(described, "nonvoc2voc", folder / "nonvoc2voc")
    return dataset, split, folder / "nonvoc2voc" / "instances_train.json"


def first_steps(
    config: dict[str, Any], data: tuple[dict[str, Any], dict[str, Any], Path], priors: Path | None = None
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Losses of the first steps of a training on the CPU, by name, one dict a step; and the weights after them."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.logging import MMLogger
    from mmengine.optim import build_optim_wrapper

    from contrastmask.training.build import build_dataset, build_model
    from contrastmask.training.steps import part_seed
    from contrastmask.training.stream import Stream
    from contrastmask.training.train import optim_wrapper

    MMLogger.get_current_instance().setLevel("ERROR")  # it would list every parameter
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset, split, annotations = data
    model: Any = build_model(config, dataset, split, None, priors)
    model.init_weights()
    model.train()
    stream = Stream(build_dataset(config, dataset, "train", annotations), 0, config["neighbours"])
    optimizer = build_optim_wrapper(model, optim_wrapper(config))
    losses = []
    for step in range(STEPS):
        batch = pseudo_collate([stream[step * config["batch"] + n] for n in range(config["batch"])])
        torch.manual_seed(part_seed(0, 0, step))
        values = model.train_step(batch, optim_wrapper=optimizer)
        losses.append({name: float(value.detach()) for name, value in values.items()})
    return losses, model.state_dict()


def machine() -> str:
    """What the last bits of a loss depend on."""
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{platform.machine()}, {names[0].partition(': ')[2] if names else 'unknown'}, torch {torch.__version__}"


def make() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = smoke_data(Path(folder))
        losses = {system.spec.id: first_steps(system.config, data)[0] for system in smoke_systems()}
    content = {"machine": machine(), "identities": identities(), "losses": losses}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    make()
