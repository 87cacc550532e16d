"""Table files: rows, and the distinct runs behind them."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from contrastmask import paths
from contrastmask.config.fragments import check_free, exists, known, merge, part
from contrastmask.config.options import METHODS, OFFICIAL, check_idle, check_options, preset_options
from contrastmask.config.settings import Settings
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError

DETECTOR = "detector"  # the method of a scale's common detector
Scale = Mapping[str, Any]  # the content of a file in configs/scales, of which runs depend on `options` and `detector`
ANY_SCALE: Scale = {}  # one that says nothing of them
SPLITS = paths.CONFIGS / "splits"  # lists of categories
LIST_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
#: Rules of the workflow, in which each table is a rule of its own.
RULES = {
    "all", "all_masks", "claims", "dataset", "diagnose", "download", "evaluate", "figure6", "figure7", "grabcut",
    "objects", "prior", "report", "shape_priors", "split", "train", "weights",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # names become file names: they cannot leave the results folder


@dataclass(frozen=True)
class RunSpec:
    """One training at one scale, for a seed to be chosen; or, with a `detector`, one evaluation of another run.

    `preset` is "both" where the method has no options that differ between the presets. `options` holds what differs
    from the preset, sorted; `config` a row's free configuration as canonical JSON ("" if none). `detector` is the run
    whose detections this one segments, with the same seed and the row's `config`; None for a run that is trained.
    `start` is the run from whose weights this one starts, with the same seed (a scale's `detector`); None for most.
    """

    method: str
    backbone: str
    schedule: str
    setting: str
    preset: str
    options: tuple[tuple[str, Any], ...] = ()
    config: str = ""
    detector: "RunSpec | None" = None
    start: "RunSpec | None" = None

    @property
    def family(self) -> str:
        """What the ids of all runs that differ only in `options` and `config` begin with."""
        method = self.method if self.preset == "both" else f"{self.method}-{self.preset}"
        return "_".join((method, self.backbone, self.schedule, self.setting))

    @property
    def id(self) -> str:
        """Folder name, the same for all rows that share this training."""
        parts = [self.family, *(f"{key}-{_short(value)}" for key, value in self.options)]
        if self.config:
            parts.append("cfg-" + hashlib.sha256(self.config.encode()).hexdigest()[:8])
        return "_".join(parts)

    @property
    def uses_novel_masks(self) -> bool:
        """Whether this training measures an upper bound that breaks the protocol (option `novel_masks`)."""
        return dict(self.options).get("novel_masks", "none") != "none"


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

    @property
    def by_label(self) -> dict[str, Row]:
        """The rows that have a run, in order; of those with one label the first."""
        found: dict[str, Row] = {}
        for row in self.rows:
            if row.run:
                found.setdefault(row.label, row)
        return found


def load_tables(settings: Settings) -> dict[str, Table]:
    """Every table, by name: the wanted ones first, then the others, which are made when asked for by name.

    Raises:
        ConfigError: naming the file and the row, or a setting of the scale that does not exist.
    """
    _check_settings(settings.scale)
    every = sorted(path.stem for path in (paths.CONFIGS / "tables").glob("*.yaml"))
    names = dict.fromkeys([*settings.tables, *every])
    return {name: load_table(name, settings.preset, settings.scale) for name in names}


def _check_settings(scale: Scale) -> None:
    """Raise ConfigError for a setting in a scale's file that does not exist, since no row has it."""
    stand_ins, detector = scale.get("settings", {}), scale.get("detector")
    for setting in (*stand_ins, *stand_ins.values(), *([detector["setting"]] if detector else [])):
        try:
            split_lists(setting)
        except ConfigError as error:
            raise ConfigError(f"configs/scales/{scale['name']}.yaml: {error}") from None


def load_table(name: str, preset: str, scale: Scale = ANY_SCALE) -> Table:
    """configs/tables/<name>.yaml, as a scale makes it.

    A row's keys override the base's; `options` and `config` of both are merged.

    Raises:
        ConfigError: naming the file and the row.
    """
    path = paths.CONFIGS / "tables" / f"{name}.yaml"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{path}: a table's file name may hold letters, digits, '-' and '_' only")
    if name in RULES:
        raise ConfigError(f"{path}: a rule of the workflow is named '{name}'; give the file another name")
    content = read_yaml(path, "table")
    rows = []
    for number, entry in enumerate(content["rows"], start=1):
        base = content.get("base", {})
        merged = base | entry
        merged |= {key: merge(base.get(key, {}), entry.get(key, {})) for key in ("options", "config")}
        settings = [entry["setting"]] if "setting" in entry else content.get("settings", [merged.get("setting")])
        for setting in settings:
            try:
                rows.append(_row(name, merged | {"setting": setting}, preset, scale))
            except ConfigError as error:
                raise ConfigError(f"{path}, row {number} ({entry.get('label', 'no label')}): {error}") from None
    return Table(name, content["title"], content["caption"], tuple(rows))


def _row(table: str, entry: dict[str, Any], preset: str, scale: Scale) -> Row:
    missing = [key for key in ("method", "backbone", "schedule", "setting") if not entry.get(key)]
    if missing:
        raise ConfigError(f"no {', '.join(missing)}: give it in the row or in the file's base")
    only_printed = entry["method"] in read_names()["methods"] and not exists("methods", entry["method"])
    return Row(
        table=table,
        label=entry.get("label", ""),
        method=entry["method"],
        backbone=entry["backbone"],
        schedule=entry["schedule"],
        setting=entry["setting"],
        mask_layers=entry.get("mask_layers"),
        run=None if only_printed else run_spec(entry, preset, scale),
    )


def run_spec(entry: dict[str, Any], preset: str, scale: Scale = ANY_SCALE) -> RunSpec:
    """The run of a row's entry; equal trainings give equal specs. `scale` is the content of the scale's file.

    Raises:
        ConfigError: naming what is unknown.
    """
    part("backbones", entry["backbone"])
    part("schedules", entry["schedule"])
    split_lists(entry["setting"])
    kind = options_of(entry["method"])
    detector = _detector(entry, preset, scale)
    preset = entry.get("preset", preset)
    given = check_options(kind, entry.get("options", {}))
    defaults = preset_options(kind, preset) | scale.get("options", {}).get(kind, {})
    differing = {key: value for key, value in given.items() if value != defaults[key]}
    check_options(kind, defaults | given)
    check_idle(defaults | given, differing)
    check_free(entry.get("config", {}))
    config = json.dumps(entry["config"], sort_keys=True) if entry.get("config") else ""
    return RunSpec(
        method=entry["method"],
        backbone=entry["backbone"],
        schedule=entry["schedule"],
        setting=entry["setting"],
        preset=preset if OFFICIAL[kind] or (detector and detector.preset != "both") else "both",
        options=tuple(sorted(differing.items())),
        config=config,
        detector=detector,
        start=None if detector else _start(entry, scale),
    )


def _start(entry: dict[str, Any], scale: Scale) -> RunSpec | None:
    """The detector from which all runs of a backbone start at a scale that has one (configs/methods/detector.py)."""
    if "detector" not in scale or entry["method"] == DETECTOR:
        return None
    return RunSpec(DETECTOR, entry["backbone"], "1x", scale["detector"]["setting"], "both")


def _detector(entry: dict[str, Any], preset: str, scale: Scale) -> RunSpec | None:
    """The run whose detections the entry's method segments (`detector` in its fragment); None if it is trained."""
    method = part("methods", entry["method"]).get("detector")
    if method is None:
        return None
    where = f"configs/methods/{entry['method']}.py: detector = '{method}'"
    if not exists("methods", method):
        raise ConfigError(f"{where} is unknown; there are: {', '.join(known('methods'))}")
    if part("methods", method).get("detector"):
        raise ConfigError(f"{where} is not trained itself; name the method whose detections it reads")
    return run_spec(entry | {"method": method, "options": {}}, preset, scale)


def options_of(method: str) -> str:
    """The key in METHODS whose options a method has: its own, or those its fragment names with `options_of`."""
    kind = part("methods", method).get("options_of", method)
    if kind not in METHODS:
        raise ConfigError(
            f"configs/methods/{method}.py: no options class for '{kind}' in contrastmask/config/options.py METHODS"
        )
    return kind


def parse_setting(setting: str, splits_dir: Path = SPLITS) -> tuple[str, str]:
    """Base and novel list of a setting, <base>2<novel>: the one place at a 2 where both sides are split lists.

    Raises:
        ConfigError: there is no such place, or more than one.
    """
    names = sorted(path.stem for path in splits_dir.glob("*.yaml") if LIST_NAME.fullmatch(path.stem))
    pairs = [
        (setting[:place], setting[place + 1 :])
        for place, character in enumerate(setting)
        if character == "2" and setting[:place] in names and setting[place + 1 :] in names
    ]
    if len(pairs) == 1:
        return pairs[0]
    if pairs:
        readings = " or ".join(f"{base} to {novel}" for base, novel in pairs)
        raise ConfigError(f"setting {setting!r} can be read as {readings}; rename one of the lists in {splits_dir}")
    known = ", ".join(names) or "no lists"
    raise ConfigError(f"setting {setting!r} must be <base>2<novel>; {splits_dir} holds {known}")


def split_lists(setting: str) -> list[str]:
    """The two category lists that a setting names, base first; ConfigError if one does not exist."""
    folder = paths.CONFIGS / "splits"
    return [str(folder / f"{name}.yaml") for name in parse_setting(setting, folder)]


def all_runs(tables: dict[str, Table]) -> dict[str, RunSpec]:
    """The distinct runs of all tables, the detectors that they read and the runs that these start from, by id."""
    runs = [run for table in tables.values() for run in table.runs]
    behind = [run for each in runs for run in (each.detector, each) if run]
    return {run.id: run for each in behind for run in (each.start, each) if run}


def find_run(tables: dict[str, Table], run: str) -> RunSpec:
    """The run of that id, detectors included; ConfigError if no table needs it."""
    runs = all_runs(tables)
    if run not in runs:
        raise ConfigError(
            f"no row of a table in configs/tables has the run '{run}'; `contrastmask plan TABLE` lists them"
        )
    return runs[run]


def read_names() -> dict[str, dict[str, dict[str, Any]]]:
    """What configs/paper/names.yaml says of methods, backbones and settings, by id: as the paper prints them."""
    return _names(paths.CONFIGS / "paper" / "names.yaml")


@cache
def _names(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    content: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)  # a float that six digits do not tell from another has all of them
