"""The Python files under configs/: plain assignments in mmengine's dialect, read without mmengine.

Snakemake reads them for every job, and importing mmengine takes seconds, since it imports torch.
"""

import copy
import difflib
import json
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from contrastmask import paths
from contrastmask.errors import ConfigError

#: What a free `config` may change beside what configs/base.py assigns.
FREE = ("one_x", "schedule", "weights", "custom_hooks", "visualizer", "custom_imports")
#: Keys that count something, wherever they are.
COUNTS = re.compile(r"channels$|groups$|_convs$|^num(_|$)")
#: Kinds of values that mmdet takes in another's place: a size as [height, width], `add_extra_convs: true`.
INSTEAD = {"a number": ("a list of numbers",), "a list": ("a list of numbers",), "text": ("true or false",)}


def known(kind: str) -> list[str]:
    """Names of the files in configs/<kind>: methods, backbones or schedules."""
    return sorted(path.stem for path in (paths.CONFIGS / kind).glob("*.py"))


def exists(kind: str, name: str) -> bool:
    """Whether `name` is one of them, without looking at the others: tables ask it for each row."""
    file = f"{name}.py"
    return Path(file).name == file and (paths.CONFIGS / kind / file).is_file()


def part(kind: str, name: str) -> dict[str, Any]:
    """What configs/<kind>/<name>.py assigns; ConfigError, with the names that there are, if there is no such file."""
    if not exists(kind, name):
        raise ConfigError(f"unknown {kind.removesuffix('s')} '{name}'; there are: {', '.join(known(kind))}")
    return fragment(paths.CONFIGS / kind / f"{name}.py")


@cache
def fragment(path: Path) -> dict[str, Any]:
    """The names that a fragment assigns, on top of those of its `_base_` (a file beside it)."""
    own = {k: v for k, v in runpy.run_path(str(path)).items() if k == "_base_" or not k.startswith("_")}
    base = own.pop("_base_", None)
    return merge(fragment(path.parent / base), own) if base else own


def check_free(config: dict[str, Any]) -> None:
    """Raise ConfigError if the free `config` of a scale or a row has a key that nothing reads or that others decide."""
    try:
        json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`config` holds what config.json cannot, such as .nan, .inf or a date: {error}") from None
    base = fragment(paths.CONFIGS / "base.py")
    allowed = {*base, *FREE} - {"variants"}
    unknown = sorted(str(key) for key in config if key not in allowed)
    unknown += sorted(f"image.{key}" for key in config.get("image", {}).keys() - {*base["image"], "_delete_"})
    if "lr" in config.get("optimizer", {}):
        unknown.append("optimizer.lr")
    model = config.get("model", {})
    if "options" in model.get("roi_head", {}):
        unknown.append("model.roi_head.options")
    if unknown:
        raise ConfigError(
            f"`config` cannot change '{unknown[0]}'; its keys are {', '.join(sorted(allowed))}. Batch and learning "
            "rate are the scale's (batch, lr); lr_factor is a multiple of that rate. Options are in `options`"
        )
    if model.keys() & {"train_cfg", "test_cfg"}:
        files = (paths.CONFIGS / "base.py", *(paths.CONFIGS / "methods").glob("*.py"))
        read = {key for file in files for key in _selections(fragment(file))}
        for key in _selections(config):
            if key not in read:
                near = ", ".join(difflib.get_close_matches(key, sorted(read), n=5, cutoff=0.4))
                raise ConfigError(f"`config`: no method reads '{key}'; there are {near}, …")


def _selections(node: dict[str, Any]) -> Iterator[str]:
    """Places two levels below `train_cfg` and `test_cfg`, wherever these are: mmdet passes over other keys there."""
    for name, value in node.items():
        if name in ("train_cfg", "test_cfg"):
            yield from (
                f"model.{name}.{part}.{key}" for part, keys in value.items() for key in keys if key != "_delete_"
            )
        elif isinstance(value, dict):
            yield from _selections(value)


def check_values(ours: dict[str, Any], changes: dict[str, Any], place: str) -> None:
    """Raise ConfigError, with the place, if `changes` put text for a number, a number for a mapping and the like.

    Null may stand for anything; nothing is said of keys that `ours` lacks, unless they count something.
    """
    if changes.get("_delete_") or changes.get("type", ours.get("type")) != ours.get("type"):
        ours = {}  # another type's keys may mean something else
    for key, new in changes.items():
        old, least = ours.get(key), 1 if key.endswith(("channels", "groups")) else 0
        if isinstance(new, dict) and isinstance(old, dict | None):
            check_values(old or {}, new, f"{place}.{key}")
            continue
        listed = new if isinstance(new, list) else [new]
        if new is None or key == "_delete_":
            continue
        if COUNTS.search(key) and not all(type(count) is int and count >= least for count in listed):
            raise ConfigError(f"{place}.{key} must be a whole number from {least} on, not {new!r}")
        if old is not None and _kind(new) not in (_kind(old), *INSTEAD.get(_kind(old), ())):
            raise ConfigError(f"{place}.{key} must be {_kind(old)}, such as {old!r}, not {new!r}")


def _kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, list | tuple):
        return "a list of numbers" if {_kind(each) for each in value} == {"a number"} else "a list"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", dict: "a mapping"}
    return kinds.get(type(value), "null")


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top, nested mappings merged key by key; neither argument is touched.

    As in mmengine, a mapping with `_delete_: true` replaces the old one instead.
    """
    merged = copy.deepcopy(base)
    put(merged, changes)
    return merged


def put(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """`merge` into `target` itself, which copies only what changes; of `changes` nothing is shared."""
    for key, value in changes.items():
        if not isinstance(value, dict):
            target[key] = copy.deepcopy(value)
            continue
        if value.get("_delete_") or not isinstance(target.get(key), dict):
            target[key] = {}
        put(target[key], {k: v for k, v in value.items() if k != "_delete_"})
