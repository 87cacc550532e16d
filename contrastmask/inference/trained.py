"""A trained detector with everything that it needs: from a run of one's own, or from a folder or file of others.

Reading never runs code: weights are tensors (safetensors, or torch.load with weights_only), everything else is JSON,
and the configuration says nothing that this project's own do not say (trust.py).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastmask.config import config_hash, runfile
from contrastmask.errors import ConfigError
from contrastmask.inference.trust import check_config
from contrastmask.runtime.files import parse_coco

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, CONFIG, CATEGORIES = "model.safetensors", "config.json", "categories.json"
#: What is read of train.json.
RECORD = ("run", "seed", "iterations", "config_hash", "data_digest", "split_digest", "checkpoint_sha256", "provenance")


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

        Raises:
            ConfigError: configuration, categories and weights do not fit each other.
        """
        from contrastmask.training.build import build_model

        base = [category["id"] for category in self.categories if category["split"] == "base"]
        model: Any
        try:
            model = build_model(self.config, {"categories": self.categories}, {"base": base}, weights=None)
            given = model.roi_head.is_base.clone()
            model.load_state_dict(self.weights)
        except Exception as error:  # mmdet's builders and torch raise whatever they meet
            raise ConfigError(f"{self.name}: configuration and weights do not make a detector: {error}") from None
        if not model.roi_head.is_base.equal(given):
            raise ConfigError(f"{self.name}: its weights were trained with other base categories than it lists")
        return model.to(device).eval()


# ---------------------------------------------------------------------------- a run of one's own


def run_folder(results: Path, scale: str, run: str, seed: int) -> Path:
    """The folder of a trained run.

    Raises:
        ConfigError: it is not there, or not trained; with the closest names.
    """
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
        ConfigError: a file is missing, or the data is no longer what the run was trained on.
        CheckpointError: model.pth is damaged.
    """
    from contrastmask.training.checkpoint import load_weights

    config, record = runfile.read(folder)["config"], _read_mapping(folder / "train.json", RECORD)
    if not isinstance(record["provenance"], dict):
        raise ConfigError(f"{folder / 'train.json'} is damaged at provenance: train the run again")
    check_config(config, str(folder / CONFIG))
    if config_hash(config) != record["config_hash"]:
        raise ConfigError(f"{folder / CONFIG} is not what {folder / 'model.pth'} was trained with: train the run again")
    data = folder.absolute().parents[2] / "data"
    dataset = _read_mapping(data / "dataset.json", ("digest", "categories"))
    split = _read_mapping(data / config["setting"] / "split.json", ("digest", "base"))
    if not isinstance(split["base"], list) or not _are_categories(dataset["categories"]):
        raise ConfigError(f"dataset.json or split.json in {data} is damaged: delete it, and Snakemake makes it again")
    for content, key in ((dataset, "data_digest"), (split, "split_digest")):
        if content["digest"] != record[key]:
            raise ConfigError(f"the data in {data} has changed since {folder} was trained on it: train the run again")
    categories = [c | {"split": "base" if c["id"] in split["base"] else "novel"} for c in dataset["categories"]]
    name = f"{record['run']} seed {record['seed']}"
    return Trained(name, config, categories, load_weights(folder / "model.pth")[0], record)


# ---------------------------------------------------------------------------- from elsewhere


def load_model(path: Path) -> Trained:
    """An exported folder, a weights file with config.json and categories.json beside it, or the folder of a run.

    Raises:
        ConfigError: a file is missing, cannot be read, or holds what is not taken from elsewhere.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist: give a folder that `contrastmask export` wrote")
    folder, file = (path, path / WEIGHTS) if path.is_dir() else (path.parent, path)
    if path.is_dir() and (path / "train.json").exists():
        return load_run(path)
    config, categories = _read_json(folder / CONFIG), _read_json(folder / CATEGORIES)
    check_config(config, str(folder / CONFIG))
    _check_categories(categories, folder / CATEGORIES)
    return Trained(str(path), config, categories["categories"], read_weights(file))


def read_weights(path: Path) -> "dict[str, Tensor]":
    """Tensors by name, on the CPU, of a .safetensors file or a PyTorch checkpoint, which may hold nothing but data.

    Raises:
        ConfigError: it is missing, broken, or holds anything that is not data.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ConfigError(f"{path} is missing: a model is {WEIGHTS} (or a .pth file) beside {CONFIG} and {CATEGORIES}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a whole safetensors file ({error}): fetch it again") from None
    except pickle.UnpicklingError:
        raise ConfigError(
            f"{path}: refused, because it is broken or holds more than tensors and plain data, and opening that could "
            "run code. Ask for a model.safetensors"
        ) from None
    except Exception as error:  # torch's reader raises whatever a broken file leads it to
        raise ConfigError(f"{path}: cannot be read as weights ({error}): fetch it again") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ConfigError(f"{path}: holds no state_dict of tensors")
    return weights


def _check_categories(content: Any, path: Path) -> None:
    listed = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or not all(_is_category(entry) for entry in listed):
        raise ConfigError(
            f'{path}: must be {{"categories": [{{"id": 1, "name": "person", "split": "base"}}, …]}}, in the order of '
            'the labels; split is "base" or "novel"'
        )
    if len({entry["id"] for entry in listed}) < len(listed):
        raise ConfigError(f"{path}: two categories have the same id")


def _is_category(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("id")) is int
        and isinstance(entry.get("name"), str)
        and entry.get("split") in ("base", "novel")
    )


def _are_categories(listed: Any) -> bool:
    return isinstance(listed, list) and all(
        isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("name"), str)
        for entry in listed
    )


def _read_json(path: Path) -> Any:
    try:
        return parse_coco(path.read_bytes(), path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as JSON ({error})") from None


def _read_mapping(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """A JSON object that has `keys`."""
    content = _read_json(path)
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise ConfigError(f"{path} lacks {', '.join(missing)}: it is damaged, or no file of this project")
    return content
