"""config.json of a run: everything that was decided about it, in the run's own folder.

    results/<scale>/runs/<run>/seed<k>/config.json

`contrastmask configure` writes it; training and evaluation read it and neither tables nor settings. Its paths are
relative to the run's folder, so that a project that was moved goes on. workflow/schemas/run.schema.yaml has the keys.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrastmask.config.resolve import config_hash, cuts_groups, resolve
from contrastmask.config.rows import RunSpec, Table
from contrastmask.config.settings import Settings
from contrastmask.config.yamlfiles import check
from contrastmask.errors import ConfigError, DataError
from contrastmask.runtime.files import read_record, write_json

NAME = "config.json"


def describe(run: RunSpec, seed: int, settings: Settings, rows: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a run's config.json; `rows` are the tables' rows that need it, "table: label"."""
    config = resolve(run, settings)
    folder = settings.run_folder(run.id, seed)

    def path(file: Path | None) -> str | None:
        return Path(os.path.relpath(file, folder)).as_posix() if file else None

    weights = settings.backbone_weights(config["backbone"]) if config.get("weights") else None
    return {
        "run": run.id,
        "seed": seed,
        "scale": {key: settings.scale[key] for key in ("name", "note", "comparable")},
        "method": run.method,
        "backbone": run.backbone,
        "schedule": run.schedule,
        "setting": run.setting,
        "preset": run.preset,
        "options": dict(run.options),
        "table_rows": list(rows),
        "files": {
            "results": path(settings.results),
            "dataset": path(settings.dataset),
            "split": path(settings.split(run.setting)),
            "annotations": path(settings.annotations(run.setting, run.uses_novel_masks)),
            "weights": path(weights),
            "priors": None if run.detector else path(settings.shape_priors(run.setting, run_options_of(config))),
            "detector": path(settings.run_folder(run.detector.id, seed)) if run.detector else None,
            **({"start": path(settings.run_folder(run.start.id, seed) / "model.pth")} if run.start else {}),
        },
        "gpus_per_run": settings.gpus_per_run,
        "images_per_gpu": settings.images_per_gpu,
        "threads": settings.scale["threads"],
        "workers": settings.scale["workers"],
        "checkpoint_every": settings.scale["checkpoint_every"],
        "config_hash": config_hash(config),
        "config": config,
    }


def run_options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of a run, from its resolved configuration."""
    return config["model"]["roi_head"]["options"] if "model" in config else config["options"]


def rows_of(tables: Iterable[Table], boxes: str = "") -> dict[str, tuple[str, ...]]:
    """By run id, the rows that need the run, "table: label", or the boxes that it finds, "table: <boxes>label"."""
    rows: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for row in (row for table in tables for row in table.rows):
        if row.run is None:
            continue
        name = row.label or row.method
        rows[row.run.id] += (f"{row.table}: {name}",)
        if row.run.detector:
            rows[row.run.detector.id] += (f"{row.table}: {boxes}{name}",)
    return rows


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write config.json into a run's folder, unless the one there says the same."""
    file = folder / NAME
    try:
        if json.loads(file.read_text(encoding="utf-8")) == content:
            return file
    except (OSError, ValueError, RecursionError):
        pass  # not there, or damaged
    write_json(file, content)
    return file


def read(folder: Path) -> dict[str, Any]:
    """config.json of a run's folder; ConfigError if it is not there, damaged, or its configuration was edited."""
    file = folder / NAME
    if not file.exists():
        raise ConfigError(f"{file} is missing: `contrastmask configure RUN` writes it, and Snakemake before a training")
    try:
        content = read_record(file, {"config": dict})
    except DataError as error:
        raise ConfigError(str(error)) from None
    check(content, "run", str(file))
    if config_hash(content["config"]) != content["config_hash"]:
        raise ConfigError(
            f"{file}: `config` was edited, or is damaged: its hash is no longer {content['config_hash']}. What a run "
            "is trained with is part of its name: write a row for another configuration (README.md, Add an ablation), "
            f"or `contrastmask configure {content['run']}` to have this one again"
        )
    gpus, images, batch = content["gpus_per_run"], content["images_per_gpu"], content["config"].get("batch", 0)
    group = run_options_of(content["config"]).get("query_group_size", 1)
    if batch % (gpus * images) or cuts_groups(images, batch, group):
        raise ConfigError(
            f"{file}: gpus_per_run={gpus} with images_per_gpu={images} does not make the batch of {batch}, or cuts "
            f"query groups of {group} images: `contrastmask configure {content['run']}` writes what does"
        )
    return content


def resolved(content: dict[str, Any]) -> dict[str, Any]:
    """The resolved configuration in a config.json, also in one of before it held anything else."""
    inner = content.get("config")
    return inner if isinstance(inner, dict) else content
