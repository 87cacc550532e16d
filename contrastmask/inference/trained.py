"""A trained detector with everything that it needs, and how one's own runs give it; those of others: received.py."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastmask.errors import ConfigError
from contrastmask.runtime.files import read_record

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, CONFIG, CATEGORIES = "model.safetensors", "config.json", "categories.json"
#: What is read of train.json.
RECORD = {
    **dict.fromkeys(("run", "config_hash", "data_digest", "split_digest", "checkpoint_sha256"), str),
    **dict.fromkeys(("seed", "iterations"), int),
    "provenance": dict,
}


@dataclass(frozen=True)
class Trained:
    """What a detector is built from.

    `categories` are in the order of the labels, each with `id`, `name` and `split` ("base" or "novel"); `record` is
    the content of train.json, empty for a model from elsewhere.
    """

    name: str
    config: dict[str, Any]
    categories: list[dict[str, Any]]
    weights: "dict[str, Tensor]"
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_with(self) -> dict[str, str]:
        """What the training saw of base and of novel categories."""
        options = self.config["model"]["roi_head"]["options"]
        upper_bound = options.get("novel_masks", "none") != "none"
        return {"base": "masks", "novel": "masks too: an upper bound" if upper_bound else "boxes only"}

    def detector(self, device: str) -> "nn.Module":
        """The detector on `device`, in evaluation mode.

        It is built without memory first, so that numbers that ask for more than the weights fill are refused.

        Raises:
            ConfigError: configuration, categories and weights do not fit each other.
        """
        import torch

        from contrastmask.training.build import build_model

        data = {"categories": self.categories}
        split = {"base": [category["id"] for category in self.categories if category["split"] == "base"]}
        model: Any
        try:
            with torch.device("meta"):
                shapes = build_model(self.config, data, split, weights=None).state_dict()
            _check_fit(shapes, self.weights)
            model = build_model(self.config, data, split, weights=None)
            given = model.roi_head.is_base.clone()
            model.load_state_dict(self.weights)
        except Exception as error:  # mmdet's builders and torch raise whatever they meet
            raise ConfigError(f"{self.name}: configuration and weights do not make a detector: {error}") from None
        if not model.roi_head.is_base.equal(given):
            raise ConfigError(f"{self.name}: its weights were trained with other base categories than it lists")
        return model.to(device).eval()


def _check_fit(shapes: "dict[str, Tensor]", weights: "dict[str, Tensor]") -> None:
    """Raise ConfigError unless the weights have the names and shapes of a model's, each with memory of its own."""
    wanted, given = ({name: list(value.shape) for name, value in each.items()} for each in (shapes, weights))
    wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if wrong:
        first = f"{wrong[0]} is {given.get(wrong[0], 'missing')} instead of {wanted.get(wrong[0], 'not there')}"
        raise ConfigError(f"{len(wrong)} of {len(wanted)} weights do not fit, such as {first}")
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in weights.values()}
    needed, held = sum(value.nbytes for value in shapes.values()), sum(storages.values())
    if needed > 4 * held:  # of 8 bits each, at least
        raise ConfigError(f"the model needs {needed:,} bytes, and its weights repeat the same {held:,}")


def run_folder(results: Path, scale: str, run: str, seed: int) -> Path:
    """The folder of a trained run; ConfigError, with the closest names, if it is not there or not trained."""
    runs = results / scale / "runs"
    if not runs.is_dir():
        raise ConfigError(f"no folder {runs}: say with --results and --scale where your runs are")
    if not (runs / run).is_dir():
        names = sorted(path.name for path in runs.iterdir() if path.is_dir())
        close = difflib.get_close_matches(run, names, n=3, cutoff=0.4) or names[:5]
        raise ConfigError(f"no run '{run}' in {runs}; there are {len(names)}, such as: {', '.join(close) or 'none'}")
    folder = runs / run / f"seed{seed}"
    if not folder.is_dir():
        seeds = ", ".join(sorted(path.name.removeprefix("seed") for path in (runs / run).glob("seed*")))
        raise ConfigError(f"no seed {seed} of run '{run}' in {runs / run}; there are: {seeds or 'none'}")
    if not (folder / "model.pth").exists():
        raise ConfigError(
            f"{folder} has no model.pth: `snakemake --cores 1 {folder / 'model.pth'}` trains it, unless its system has "
            "no weights of its own (Mask GrabCut)"
        )
    return folder


def load_run(folder: Path) -> Trained:
    """The final weights of a run, with the data's categories.

    Raises:
        ConfigError, DataError: a file is missing or damaged, or the data is not what the run was trained on.
        CheckpointError: model.pth is damaged.
    """
    from contrastmask.training.checkpoint import load_weights
    from contrastmask.training.run import Run

    run, record = Run.read(folder), read_record(folder / "train.json", RECORD)
    if run.config_hash != record["config_hash"]:
        raise ConfigError(f"{folder / CONFIG} is not what {folder / 'model.pth'} was trained with: train the run again")
    for name, content in (("data", run.dataset), ("split", run.split)):
        if content["digest"] != record[f"{name}_digest"]:
            raise ConfigError(f"the {name} of {folder} has changed since it was trained: train the run again")
    categories = [c | {"split": "base" if c["id"] in run.split["base"] else "novel"} for c in run.dataset["categories"]]
    weights, _ = load_weights(folder / "model.pth")
    return Trained(f"{record['run']} seed {record['seed']}", run.config, categories, weights, record)
