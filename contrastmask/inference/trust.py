"""What a configuration from elsewhere may say: the words of configs/ and nothing else.

mmdet builds whatever class a configuration's `type` names, imports modules that a dotted name mentions and loads what
`init_cfg` points to. A model that was sent by somebody therefore may hold only keys and texts that occur in the models
of this project's own configs/; numbers are free. A `type`, URL or path that is not ours is refused by that one rule.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from contrastmask.config.fragments import fragment
from contrastmask.config.options import check_options
from contrastmask.config.rows import options_of
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError, OptionError
from contrastmask.paths import CONFIGS

LARGEST_SIDE = 10_000  # pixels


def check_config(config: Any, where: str, configs: Path = CONFIGS) -> None:
    """Raise ConfigError, naming the key and the fix, if a detector should not be built from `config`."""
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ConfigError(f"{where}: not a resolved configuration: it has no model")
    _check_options(config, where, configs)
    model = config["model"]
    model = model | {"roi_head": {key: value for key, value in model["roi_head"].items() if key != "options"}}
    allowed = words(configs)
    for place, text in _texts(model, "model"):
        if text not in allowed:
            raise ConfigError(
                f"{where}: {place} is {text!r}, which is nowhere in the models of {configs}. A model from elsewhere "
                "may use only what this project's own configurations use; if you trust it, add a table row that says it"
            )
    size = config.get("image", {}).get("test") if isinstance(config.get("image"), dict) else None
    if not _is_size(size):
        raise ConfigError(f"{where}: image.test must be [long side, short side] in pixels, not {size!r}")


@cache
def words(configs: Path = CONFIGS) -> frozenset[str]:
    """Every key and every text of the models in configs/: fragments, their variants, scales, tables."""
    return frozenset(text for model in _models(configs) for _, text in _texts(model, ""))


def _models(configs: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(configs.glob("*/*.py")):
        content = fragment(path)
        yield content.get("model", {})
        for variant in content.get("variants", {}).values():
            if isinstance(variant, dict):  # and not the mark `_delete_`
                yield from _of(variant.values())
    for path in sorted((configs / "scales").glob("*.yaml")):
        scale = read_yaml(path, "scale")
        yield from _of([scale.get("config", {})])
    for path in sorted((configs / "tables").glob("*.yaml")):
        table = read_yaml(path, "table")
        yield from _of(row.get("config", {}) for row in (table.get("base", {}), *table["rows"]))


def _of(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (part.get("model", {}) for part in parts)


def _texts(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """Place and text of every key and every value that is a text."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"a key of {place}", key
            yield from _texts(value, f"{place}.{key}")
    elif isinstance(node, (list, tuple)):
        for number, item in enumerate(node):
            yield from _texts(item, f"{place}[{number}]")
    elif isinstance(node, str):
        yield place, node


def _check_options(config: dict[str, Any], where: str, configs: Path) -> None:
    """The method is one of ours, and has these options."""
    methods = sorted(path.stem for path in (configs / "methods").glob("*.py"))
    method = config.get("method")
    if method not in methods:
        raise ConfigError(f"{where}: unknown method {method!r}; there are: {', '.join(methods)}")
    head = config["model"].get("roi_head")
    options = head.get("options") if isinstance(head, dict) else None
    if not isinstance(options, dict):
        raise ConfigError(f"{where}: model.roi_head.options is missing: not a configuration of this project")
    try:
        check_options(options_of(method, configs), options)
    except OptionError as error:
        raise ConfigError(f"{where}: {error}") from None


def _is_size(size: Any) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= LARGEST_SIDE for n in size)
