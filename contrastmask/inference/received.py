"""A model that somebody sent: nothing of it is run, and all of it is checked before a detector is built.

mmdet builds whatever class a configuration's `type` names and loads what `init_cfg` points to. So of a model's
configuration only numbers count: its structure, keys and texts must be those that this project's own configs/ make of
the method, backbone, schedule and options that it names. docs/trust.md says it in full.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contrastmask import paths
from contrastmask.config.fragments import known, put
from contrastmask.config.options import check_options, preset_options
from contrastmask.config.resolve import assembled
from contrastmask.config.rows import options_of
from contrastmask.config.runfile import resolved
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError
from contrastmask.inference.trained import CATEGORIES, CONFIG, WEIGHTS, Trained, load_run
from contrastmask.runtime.files import parse_coco, read_coco_bytes

LARGEST = 10_000  # of the numbers in a model: how wide, how often, how many
LARGEST_SIDE = 4_096  # pixels of an image


def read_model(path: Path) -> Trained:
    """An exported folder, a weights file with config.json and categories.json beside it, or the folder of a run.

    Raises:
        ConfigError, DataError: a file is missing, cannot be read, or holds what is not taken from elsewhere.
    """
    from contrastmask.training.weights import read as read_weights

    if not path.exists():
        raise ConfigError(f"{path} does not exist: give a folder that `contrastmask export` wrote")
    folder, file = (path, path / WEIGHTS) if path.is_dir() else (path.parent, path)
    config = resolved(_read(folder / CONFIG))
    check_config(config, str(folder / CONFIG))
    if path.is_dir() and (path / "train.json").exists():
        return load_run(path)
    categories = _read(folder / CATEGORIES).get("categories")
    if not isinstance(categories, list) or not categories or not all(map(_is_category, categories)):
        raise ConfigError(
            f'{folder / CATEGORIES}: must be {{"categories": [{{"id": 1, "name": "person", "split": "base"}}, …]}}, in '
            'the order of the labels; split is "base" or "novel"'
        )
    if len({entry["id"] for entry in categories}) < len(categories):
        raise ConfigError(f"{folder / CATEGORIES}: two categories have the same id")
    return Trained(str(path), config, categories, read_weights(file, str(file)))


def check_config(config: Any, where: str) -> None:
    """Raise ConfigError, naming the first difference, if a detector should not be built from a resolved configuration.

    What a scale of that name in configs/scales changes counts as the project's own.
    """
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ConfigError(f"{where}: not a resolved configuration: it has no model")
    keys = {"methods": "method", "backbones": "backbone", "schedules": "schedule_name"}
    for kind, key in keys.items():
        if config.get(key) not in known(kind):
            raise ConfigError(f"{where}: unknown {key} {config.get(key)!r}; there are: {', '.join(known(kind))}")
    named = method, backbone, schedule = tuple(config[key] for key in keys.values())
    ours = assembled(method, backbone, schedule, _options(config, where))
    if config.get("scale") in [path.stem for path in (paths.CONFIGS / "scales").glob("*.yaml")]:
        put(ours, read_yaml(paths.CONFIGS / "scales" / f"{config['scale']}.yaml", "scale").get("config", {}))
    plain = json.loads(json.dumps(ours["model"]))  # tuples become lists
    plain["backbone"] = {"frozen_stages": 0, "norm_eval": True} | plain["backbone"]  # which a scale sets
    for difference in _differences(plain, config["model"], "model"):
        raise ConfigError(
            f"{where}: {difference}, so it is not what {paths.CONFIGS} makes of {', '.join(named)}. A model from "
            "elsewhere may differ in numbers alone; if its scale has a `config` of its own that you trust, put the "
            "scale's file into configs/scales"
        )
    image = config.get("image")
    size = image.get("test") if isinstance(image, dict) else None
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= LARGEST_SIDE for n in size)):
        raise ConfigError(
            f"{where}: image.test must be [long side, short side], at most {LARGEST_SIDE} pixels, not {size!r}"
        )


def _options(config: dict[str, Any], where: str) -> dict[str, Any]:
    """Every option of the configuration's method, checked."""
    head = config["model"].get("roi_head")
    options = head.get("options") if isinstance(head, dict) else None
    kind = options_of(config["method"])
    if not isinstance(options, dict) or (missing := preset_options(kind, "paper").keys() - options.keys()):
        lacking = ", ".join(sorted(missing)) if isinstance(options, dict) else "every option"
        raise ConfigError(f"{where}: model.roi_head.options is missing {lacking}: no configuration of this project")
    try:
        check_options(kind, options)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return options


def _differences(ours: Any, given: Any, place: str) -> Iterator[str]:
    """Where `given` is not `ours`, numbers and switches apart; and every number that is too large."""
    if isinstance(ours, dict) and isinstance(given, dict):
        for key in sorted(ours.keys() ^ given.keys()):
            yield f"{place}.{key} is {'missing' if key in ours else 'more'}"
        for key in sorted(ours.keys() & given.keys()):
            yield from _differences(ours[key], given[key], f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(given, list) and len(ours) == len(given):
        for number, (our, other) in enumerate(zip(ours, given, strict=True)):
            yield from _differences(our, other, f"{place}[{number}]")
    elif _is_number(ours) and _is_number(given):
        if abs(given) > LARGEST:
            yield f"{place} is {given!r:.20}, more than {LARGEST}"
    elif type(ours) is not type(given) or (ours != given and not isinstance(ours, bool)):
        yield f"{place} is {given!r} instead of {ours!r}"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_category(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and type(entry.get("id")) is int
        and isinstance(entry.get("name"), str)
        and entry.get("split") in ("base", "novel")
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON object."""
    if not path.exists():
        raise ConfigError(
            f"{path} is missing: give a folder that `contrastmask export` wrote, the folder of a run and seed, or a "
            f"weights file with {CONFIG} and {CATEGORIES} beside it"
        )
    content = parse_coco(read_coco_bytes(path), path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return content
