"""From a table's row to a run, and from a run to its resolved configuration.

    configs/config.yaml + command line ──load_settings──▶ Settings
    configs/tables/*.yaml ──load_tables──▶ Table > Row > RunSpec        rows that need the same training share a RunSpec
    RunSpec + Settings ──resolve──▶ nested dict of plain data ──config_hash──▶ what decides whether to train again

No torch and no mmengine: Snakemake reads this file for every job.
"""

import copy
import hashlib
import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from contrastmask.engine.gpu import visible_gpus
from contrastmask.options import METHODS, OFFICIAL, OptionError, check_options, preset_options
from contrastmask.yamlfiles import ROOT, ConfigError, check, read_yaml

CONFIGS = ROOT / "configs"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # names become file names: they cannot leave the results folder


@dataclass(frozen=True)
class Settings:
    """The checked configuration: what to make, at which scale, from which data, where to."""

    scale: dict[str, Any]
    preset: str
    seeds: tuple[int, ...]
    tables: tuple[str, ...]
    results: Path
    data_root: str | None
    gpus_per_run: int
    images_per_gpu: int
    weights: tuple[tuple[str, str], ...]

    @property
    def folder(self) -> Path:
        """results/<scale>"""
        return self.results / self.scale["name"]

    @property
    def dataset(self) -> Path:
        """The verified dataset's description."""
        return self.folder / "data" / "dataset.json"

    def split(self, setting: str) -> Path:
        """A setting's split; the training annotations without novel masks lie beside it."""
        return self.folder / "data" / setting / "split.json"

    def backbone_weights(self, backbone: str) -> Path:
        """The verified file of a backbone's ImageNet weights."""
        return self.folder / "weights" / f"{backbone}.pth"

    def run_folder(self, run: str, seed: int) -> Path:
        """Everything of one training."""
        return self.folder / "runs" / run / f"seed{seed}"


@dataclass(frozen=True)
class RunSpec:
    """One training at one scale, for a seed to be chosen.

    `preset` is "both" where the method has no options that differ between the presets. `options` holds what differs
    from the preset, sorted; `config` a row's free configuration as canonical JSON ("" if none).
    """

    method: str
    backbone: str
    schedule: str
    setting: str
    preset: str
    options: tuple[tuple[str, Any], ...] = ()
    config: str = ""

    @property
    def id(self) -> str:
        """Folder name, the same for all rows that share this training."""
        method = self.method if self.preset == "both" else f"{self.method}-{self.preset}"
        parts = [method, self.backbone, self.schedule, self.setting]
        parts += [f"{key}-{_short(value)}" for key, value in self.options]
        if self.config:
            parts.append("cfg-" + hashlib.sha256(self.config.encode()).hexdigest()[:8])
        return "_".join(parts)


@dataclass(frozen=True)
class Row:
    """A line of a table. `run` is None where the system is not implemented."""

    table: str
    label: str
    method: str
    backbone: str
    schedule: str
    setting: str
    mask_layers: int | None
    run: RunSpec | None


@dataclass(frozen=True)
class Table:
    """A table file: its rows in order."""

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """The distinct runs of the rows, in order."""
        return tuple(dict.fromkeys(row.run for row in self.rows if row.run))


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------------- settings


def load_settings(config: dict[str, Any], configs: Path = CONFIGS) -> Settings:
    """Check a configuration (configs/config.yaml with the command line's changes) and load its scale.

    Raises:
        ConfigError: with the file, the key and the fix.
    """
    check(config, "config", "the configuration (configs/config.yaml and --config)")
    scale = read_yaml(configs / "scales" / f"{config['scale']}.yaml", "scale")
    if scale["name"] != config["scale"]:
        raise ConfigError(f"configs/scales/{config['scale']}.yaml  '{scale['name']}'; set its name: to its file name")
    kind, data_root = scale["dataset"]["kind"], config["data_root"]
    if kind == "synthetic" and data_root:
        raise ConfigError(
            f"scale '{scale['name']}' makes its own data, so data_root={data_root} would be ignored; "
            "use scale=coco-mini or scale=paper, or write a scale of dataset kind 'folder'"
        )
    if kind != "synthetic" and not (data_root or scale["dataset"].get("root")):
        raise ConfigError(f"scale '{scale['name']}' needs data: give --config data_root=FOLDER (dataset kind '{kind}')")
    images = config["images_per_gpu"] or scale["images_per_gpu"]
    every = sorted(path.stem for path in (configs / "tables").glob("*.yaml"))
    tables = every if config["tables"] == "all" else config["tables"]
    return Settings(
        scale=scale,
        preset=config["preset"],
        seeds=tuple(config["seeds"]),
        tables=tuple(sorted(tables, key=_natural)),
        results=Path(config["results"]),
        data_root=data_root or scale["dataset"].get("root"),
        gpus_per_run=_gpus(config["gpus_per_run"], scale["batch"] // images),
        images_per_gpu=images,
        weights=tuple(sorted(config["weights"].items())),
    )


def _gpus(asked: int | str, wanted: int) -> int:
    """GPUs of a run; `auto`: as many as the scale's batch asks for, or whatever is there. Without any, 1 is the CPU."""
    if asked != "auto":
        return int(asked)
    return max(1, min(wanted, len(visible_gpus()))) if wanted > 1 else 1


def settings_from_json(text: str, configs: Path = CONFIGS) -> Settings:
    """Settings from a JSON mapping of what differs from configs/config.yaml: how rules hand them to commands."""
    try:
        changes = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--settings is not JSON: {error}") from None
    return load_settings(read_yaml(configs / "config.yaml", "config") | changes, configs)


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


# ---------------------------------------------------------------------------- tables


def load_tables(settings: Settings, configs: Path = CONFIGS) -> dict[str, Table]:
    """The tables that the settings name, by name.

    Raises:
        ConfigError: naming the file and the row.
    """
    return {name: load_table(configs / "tables" / f"{name}.yaml", settings.preset, configs) for name in settings.tables}


def load_table(path: Path, preset: str, configs: Path = CONFIGS) -> Table:
    """One table file. A row's keys override the base's; `options` and `config` of both are merged.

    Raises:
        ConfigError: naming the file and the row.
    """
    if not NAME.fullmatch(path.stem):
        raise ConfigError(f"{path}: a table's file name may hold letters, digits, '-' and '_' only")
    content = read_yaml(path, "table")
    rows = []
    for number, entry in enumerate(content["rows"], start=1):
        base = content.get("base", {})
        merged = base | entry
        merged |= {key: merge(base.get(key, {}), entry.get(key, {})) for key in ("options", "config")}
        settings = [entry["setting"]] if "setting" in entry else content.get("settings", [merged.get("setting")])
        for setting in settings:
            try:
                rows.append(_row(path.stem, merged | {"setting": setting}, preset, configs))
            except (ConfigError, OptionError) as error:
                raise ConfigError(f"{path}, row {number} ({entry.get('label', 'no label')}): {error}") from None
    return Table(path.stem, content["title"], content["caption"], tuple(rows))


def _row(table: str, entry: dict[str, Any], preset: str, configs: Path) -> Row:
    missing = [key for key in ("method", "backbone", "schedule", "setting") if not entry.get(key)]
    if missing:
        raise ConfigError(f"no {', '.join(missing)}: give it in the row or in the file's base")
    run = None
    if (configs / "methods" / f"{entry['method']}.py").exists():
        run = run_spec(entry, preset, configs)
    elif entry["method"] not in read_names(configs)["methods"]:
        raise ConfigError(f"unknown method '{entry['method']}'; there are: {_known(configs / 'methods')}")
    return Row(
        table=table,
        label=entry.get("label", ""),
        method=entry["method"],
        backbone=entry["backbone"],
        schedule=entry["schedule"],
        setting=entry["setting"],
        mask_layers=entry.get("mask_layers"),
        run=run,
    )


def run_spec(entry: dict[str, Any], preset: str, configs: Path = CONFIGS) -> RunSpec:
    """The run of a row's entry; equal trainings give equal specs.

    Raises:
        ConfigError, OptionError: naming what is unknown.
    """
    for kind in ("backbone", "schedule"):
        if not (configs / f"{kind}s" / f"{entry[kind]}.py").exists():
            raise ConfigError(f"unknown {kind} '{entry[kind]}'; there are: {_known(configs / f'{kind}s')}")
    split_lists(entry["setting"], configs)
    kind = _options_of(entry["method"], configs)
    preset = entry.get("preset", preset)
    given = entry.get("options", {})
    check_options(kind, given)
    defaults = preset_options(kind, preset)
    differing = {key: value for key, value in given.items() if value != defaults[key]}
    check_options(kind, defaults | given)
    config = json.dumps(entry["config"], sort_keys=True) if entry.get("config") else ""
    return RunSpec(
        method=entry["method"],
        backbone=entry["backbone"],
        schedule=entry["schedule"],
        setting=entry["setting"],
        preset=preset if OFFICIAL[kind] else "both",
        options=tuple(sorted(differing.items())),
        config=config,
    )


def _options_of(method: str, configs: Path) -> str:
    """The key in METHODS whose options a method has: its own, or those its fragment names with `options_of`."""
    kind = _fragment(configs / "methods" / f"{method}.py").get("options_of", method)
    if kind not in METHODS:
        raise ConfigError(
            f"configs/methods/{method}.py: no options class for '{kind}' in contrastmask/options.py METHODS"
        )
    return kind


def split_lists(setting: str, configs: Path = CONFIGS) -> list[str]:
    """The two category lists that a setting names, base first.

    Raises:
        ConfigError: if one does not exist.
    """
    from contrastmask.data.files import DataError
    from contrastmask.data.splits import parse_setting

    try:
        names = parse_setting(setting, configs / "splits")
    except DataError as error:
        raise ConfigError(str(error)) from None
    return [str(configs / "splits" / f"{name}.yaml") for name in names]


def backbone_config(backbone: str, configs: Path = CONFIGS) -> dict[str, Any]:
    """A backbone's part of the model's configuration, at full width."""
    return _fragment(configs / "backbones" / f"{backbone}.py")["model"]["backbone"]


def weights_source(backbone: str, settings: Settings, configs: Path = CONFIGS) -> str:
    """Where a backbone's ImageNet weights come from: the configuration's `weights`, or the backbone's own."""
    return dict(settings.weights).get(backbone, _fragment(configs / "backbones" / f"{backbone}.py")["weights"])


@cache
def read_names(configs: Path = CONFIGS) -> dict[str, Any]:
    """Display names of the paper's methods and backbones (configs/paper/names.yaml)."""
    return yaml.safe_load((configs / "paper" / "names.yaml").read_text(encoding="utf-8"))


def _known(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.py")))


def all_runs(tables: dict[str, Table]) -> dict[str, RunSpec]:
    """The distinct runs of all tables, by id."""
    return {run.id: run for table in tables.values() for run in table.runs}


def find_run(settings: Settings, run: str) -> RunSpec:
    """The run of that id among all tables.

    Raises:
        ConfigError: if no table has it.
    """
    runs = all_runs(load_tables(settings))
    if run not in runs:
        raise ConfigError(f"no row of the tables {', '.join(settings.tables)} has the run '{run}'")
    return runs[run]


# ---------------------------------------------------------------------------- resolved configuration


def resolve(spec: RunSpec, settings: Settings, configs: Path = CONFIGS) -> dict[str, Any]:
    """The complete configuration of a run: plain data, independent of seed, paths and machine.

    Later parts override earlier ones: base, method, backbone, schedule, what options change, the scale's width, the
    scale's `config`, the row's `config`.
    """
    scale = settings.scale
    config: dict[str, Any] = {}
    for part in ("base", f"methods/{spec.method}", f"backbones/{spec.backbone}", f"schedules/{spec.schedule}"):
        config = merge(config, _fragment(configs / f"{part}.py"))
    kind = _options_of(spec.method, configs)
    options = preset_options(kind, "paper" if spec.preset == "both" else spec.preset) | dict(spec.options)
    for option, changes in config.pop("variants", {}).items():
        config = merge(config, changes[options[option]])
    config = merge(config, {"model": {"roi_head": {"options": options}}})
    narrow(config["model"], scale.get("width", 1))
    if scale.get("from_scratch"):
        config["weights"] = None
        config["model"]["backbone"] |= {"frozen_stages": -1, "norm_eval": False}
    else:
        config["weights"] = weights_source(spec.backbone, settings, configs)
    config = merge(config, scale.get("config", {}))
    config = merge(config, json.loads(spec.config) if spec.config else {})
    batch = _batch(settings)
    config["optimizer"]["lr"] = scale["lr"] * batch / scale["batch"]  # the linear rule
    return config | {
        "method": spec.method,
        "backbone": spec.backbone,
        "schedule_name": spec.schedule,
        "setting": spec.setting,
        "preset": spec.preset,
        "options": dict(spec.options),
        "scale": scale["name"],
        "batch": batch,
        "one_x": _one_x(scale, batch),
    }


def _batch(settings: Settings) -> int:
    return settings.gpus_per_run * settings.images_per_gpu


def _one_x(scale: dict[str, Any], batch: int) -> dict[str, Any]:
    """Length of the schedule 1x; iterations are given for the scale's batch and stretched for a smaller one."""
    if "epochs" in scale["one_x"]:
        return {"epochs": scale["one_x"]["epochs"]}
    return {"iterations": round(scale["one_x"]["iterations"] * scale["batch"] / batch)}


def config_hash(config: dict[str, Any]) -> str:
    """Identity of a resolved configuration: 16 hex digits; comments and the order of keys do not count."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top, nested mappings merged key by key; neither argument is touched.

    As in mmengine, a mapping with `_delete_: true` replaces the old one instead.
    """
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict):
            keep = not value.get("_delete_") and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key] if keep else {}, {k: v for k, v in value.items() if k != "_delete_"})
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def narrow(model: dict[str, Any], width: float) -> None:
    """Multiply every channel count in a model's configuration (keys `*channels`, `groups`) by `width`, in place.

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
            if key == "groups" or key.endswith("channels"):
                yield node, key
            else:
                yield from _channel_keys(value)
    elif isinstance(node, list):
        for item in node:
            yield from _channel_keys(item)


@cache
def _fragment(path: Path) -> dict[str, Any]:
    """The names that a fragment assigns, on top of those of its `_base_` (a file beside it)."""
    own = {k: v for k, v in runpy.run_path(str(path)).items() if k == "_base_" or not k.startswith("_")}
    base = own.pop("_base_", None)
    return merge(_fragment(path.parent / base), own) if base else own
