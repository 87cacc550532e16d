"""A run's complete configuration, as plain data, and its identity."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from contrastmask import paths
from contrastmask.config.fragments import check_values, fragment, part, put
from contrastmask.config.options import preset_options
from contrastmask.config.rows import DETECTOR, RunSpec, options_of
from contrastmask.config.settings import Settings
from contrastmask.errors import ConfigError


def resolve(spec: RunSpec, settings: Settings) -> dict[str, Any]:
    """The complete configuration of a run: plain data, independent of seed, paths, machine and number of GPUs.

    Later parts override earlier ones: base, method, backbone, schedule, what options change (for all schedules, then
    for this one), the scale's width, the scale's `config`, the row's `config`. A run that reads a detector's results
    has only its own options and the detector's identity.

    Raises:
        ConfigError: the images that a GPU takes at once would cut the run's query groups, or a free `config` cannot be.
    """
    if spec.detector:
        return _resolve_evaluation(spec, spec.detector, settings)
    scale, backbone = settings.scale, settings.backbone(spec.backbone)
    config = assembled(spec.method, backbone, spec.schedule, all_options(spec, scale))
    narrow(config["model"], scale.get("width", 1))
    if config.pop("fixed_width", False):
        put(config["model"], {"neck": part("backbones", backbone)["model"]["neck"]})
    if scale.get("from_scratch"):
        config["weights"] = None
        config["model"]["backbone"] |= {"frozen_stages": -1, "norm_eval": False}
    else:
        config["weights"] = weights_source(backbone, settings)
    row = json.loads(spec.config or "{}")
    for whose, free in ((f"scale '{scale['name']}'", scale.get("config", {})), (f"a row of {spec.id}", row)):
        check_values(config["model"], free.get("model", {}), f"`config` of {whose}: model")
        put(config, free)
    _check_whole(config, spec, scale)
    config["optimizer"]["lr"] = scale["lr"] * config.pop("lr_factor")
    check_groups(spec, settings)
    if spec.method == DETECTOR:
        config["one_x"] = dict(scale["detector"]["one_x"])
    if spec.start:
        start = resolve(spec.start, settings)
        config["start"] = {"run": spec.start.id, "config_hash": config_hash(start)}
    return (
        {"one_x": dict(scale["one_x"])}
        | config
        | {
            "method": spec.method,
            "backbone": backbone,
            "schedule_name": spec.schedule,
            "setting": settings.setting(spec.setting),
            "preset": spec.preset,
            "options": dict(spec.options),
            "scale": scale["name"],
            "batch": scale["batch"],
        }
    )


def assembled(method: str, backbone: str, schedule: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the fragments in configs/ and all `options` of a method make together, before a scale or row changes it."""
    config: dict[str, Any] = {}
    put(config, fragment(paths.CONFIGS / "base.py"))
    for kind, name in (("methods", method), ("backbones", backbone), ("schedules", schedule)):
        put(config, part(kind, name))
    for option, changes in config.pop("variants", {}).items():
        put(config, changes[options[option]])
    put(config, config.pop("by_schedule", {}).get(schedule, {}))
    put(config, {"model": {"roi_head": {"options": dict(options)}}})
    return config


def _check_whole(config: dict[str, Any], spec: RunSpec, scale: dict[str, Any]) -> None:
    """A `_delete_` in the free `config` of a scale or a row must leave what every run needs."""
    model = config["model"]
    sections = (
        ("optimizer", config["optimizer"], ("type",)),
        ("image", config["image"], ("train", "test", "flip", "masks")),
        ("schedule", config["schedule"], ("length", "drops")),
        ("model", model, ("backbone", "roi_head")),
        ("model.roi_head", model.get("roi_head", {}), ("options",)),
    )
    missing = [f"{name}.{key}" for name, section, keys in sections for key in keys if key not in section]
    if missing:
        raise ConfigError(
            f"the `config` of scale '{scale['name']}' or of a row of {spec.id} deletes {', '.join(missing)}, which "
            "every run needs: give it beside `_delete_`, or only the keys that change"
        )


def _resolve_evaluation(spec: RunSpec, detector: RunSpec, settings: Settings) -> dict[str, Any]:
    return {
        "method": spec.method,
        "backbone": spec.backbone,
        "schedule_name": spec.schedule,
        "setting": settings.setting(spec.setting),
        "preset": spec.preset,
        "options": all_options(spec, settings.scale),
        "scale": settings.scale["name"],
        "detector": {"run": detector.id, "config_hash": config_hash(resolve(detector, settings))},
    }


def all_options(spec: RunSpec, scale: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options: its preset's, what the scale changes, and what its row changes."""
    kind = options_of(spec.method)
    preset = preset_options(kind, "paper" if spec.preset == "both" else spec.preset)
    return preset | scale.get("options", {}).get(kind, {}) | dict(spec.options)


def check_groups(spec: RunSpec, settings: Settings) -> None:
    """A pass that sees less than the batch must not cut query groups: the recipe is the same for any number of GPUs.

    Raises:
        ConfigError: it would.
    """
    images, group = settings.images_per_gpu, all_options(spec, settings.scale).get("query_group_size", 1)
    if cuts_groups(images, settings.scale["batch"], group):
        raise ConfigError(
            f"images_per_gpu={images} would cut the query groups of {group} images of {spec.id} (option "
            f"query_group_size): let a GPU take a multiple of {group} images at once, or use fewer GPUs"
        )


def cuts_groups(images: int, batch: int, group: int) -> bool:
    """Whether passes of so many images, unless one sees the whole batch, cut query groups of so many."""
    return images < batch and images % group > 0


def config_hash(config: dict[str, Any]) -> str:
    """Identity of a resolved configuration: 16 hex digits; comments and the order of keys do not count."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def narrow(model: dict[str, Any], width: float) -> None:
    """Multiply every channel count in a model's configuration by `width`, in place: keys `*channels`, and `groups` and
    `num_groups`, so that a group keeps its size.

    Depths, strides and sizes stay: at every scale the network has the paper's structure.
    """
    for mapping, key in _channel_keys(model):
        value = mapping[key]
        mapping[key] = [_narrowed(v, width) for v in value] if isinstance(value, list) else _narrowed(value, width)


def _narrowed(channels: int, width: float) -> int:
    return max(int(channels * width), 1)


def _channel_keys(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("groups", "num_groups") or key.endswith("channels"):
                yield node, key
            else:
                yield from _channel_keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from _channel_keys(item)


def backbone_config(backbone: str) -> dict[str, Any]:
    """A backbone's part of the model's configuration, at full width. ConfigError if there is none of that name."""
    config: dict[str, Any] = part("backbones", backbone)["model"]["backbone"]
    return config


def weights_source(backbone: str, settings: Settings) -> str:
    """Where a backbone's ImageNet weights come from: the configuration's `weights`, or the backbone's own."""
    return dict(settings.weights).get(backbone, part("backbones", backbone)["weights"])
