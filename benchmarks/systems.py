"""The distinct systems of some tables: what their sizes and their speed are measured over. No torch, no data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from contrastmask.config.fragments import part
from contrastmask.config.resolve import resolve
from contrastmask.config.rows import RunSpec, load_table, read_names
from contrastmask.config.settings import Settings, settings_with
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.paths import CONFIGS

TABLES = ("table1", "deep-marc")
BASELINE = "mask-rcnn"


@dataclass(frozen=True)
class System:
    """A network of its own: rows that differ only in setting, schedule or recipe share it."""

    name: str
    """As the tables show it: the method's name and the row's label."""
    spec: RunSpec
    config: dict[str, Any]


def systems(settings: Settings, tables: Sequence[str] = TABLES, backbone: str | None = None) -> list[System]:
    """The systems of the tables' rows, in their order; with `backbone`, all on that one.

    Rows without a training (not implemented, or methods whose fragment has no `model`) have no network of their own.
    """
    found: dict[str, System] = {}
    for name in tables:
        for row in load_table(name, settings.preset).rows:
            if row.run is None or "model" not in part("methods", row.method):
                continue
            spec = replace(row.run, backbone=backbone or row.run.backbone)
            config = resolve(spec, settings)
            printed = read_names()["methods"].get(row.method, {}).get("name", row.method)
            label = f"{printed} ({row.label})" if row.label else printed
            found.setdefault(json.dumps(config["model"], sort_keys=True), System(label, spec, config))
    return list(found.values())


def without_data(scale: str) -> Settings:
    """The settings of a scale for work that reads no data set.

    Raises:
        ConfigError: if there is no such scale.
    """
    kind = read_yaml(CONFIGS / "scales" / f"{scale}.yaml", "scale")["dataset"]["kind"]
    root = {} if kind == "synthetic" else {"data_root": "none"}
    return settings_with({"scale": scale} | root)


def categories(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Stand-ins of dataset.json and split.json with as many categories as the scale has: COCO's 80 where it has data.

    The first three quarters are base, as in nonvoc2voc.
    """
    number = settings.scale["dataset"].get("categories", 80)
    listed = [{"id": n, "name": str(n)} for n in range(number)]
    return {"categories": listed}, {"base": list(range(number * 3 // 4))}
