"""A trained model as a folder to hand on: weights, configuration, categories, and a card that says what it is.

Plain data throughout: whoever opens it runs no code from it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from contrastmask import paths
from contrastmask.config.yamlfiles import check, read_yaml
from contrastmask.errors import ConfigError
from contrastmask.inference.received import check_config
from contrastmask.inference.trained import CATEGORIES, CONFIG, WEIGHTS, Trained, load_run
from contrastmask.runtime.files import read_record, write_json

CARD = "README.md"


def export(run: Path, out: Path) -> Trained:
    """Write the run of folder `run` to the new folder `out`: all of it or nothing.

    Raises:
        ConfigError: the run cannot be read, nobody else could open it (docs/trust.md), or `out` holds something.
    """
    from safetensors.torch import save

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is not an empty folder: give another --out, or remove it")
    if not out.name:
        raise ConfigError(f"{out} has no name: give that of a new folder")
    trained = load_run(run)
    check_config(trained.config, str(run / CONFIG))
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        weights = {name: value.contiguous() for name, value in trained.weights.items()}
        (unfinished / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt", "model": trained.name}))
        write_json(unfinished / CONFIG, trained.config)
        write_json(unfinished / CATEGORIES, {"categories": trained.categories})
        (unfinished / CARD).write_text(card(trained, _metrics(run)), encoding="utf-8")
        unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return trained


def card(trained: Trained, metrics: dict[str, Any] | None) -> str:
    """The model card, as markdown. `metrics`: content of metrics.json, None if the run was not evaluated."""
    config, record = trained.config, trained.record
    scale = read_yaml(paths.CONFIGS / "scales" / f"{config['scale']}.yaml", "scale")
    commit = record["provenance"].get("git.commit", "unknown")
    dirty = " with uncommitted changes" if record["provenance"].get("git.dirty") == "true" else ""
    facts = {
        "method": f"{config['method']}, preset {config['preset']}",
        "backbone, schedule": f"{config['backbone']}, {config['schedule_name']}, {record['iterations']} iterations",
        "options that differ from the preset": json.dumps(config["options"]) if config["options"] else "none",
        "setting (base to novel)": config["setting"],
        "scale": config["scale"],
        "seed": str(record["seed"]),
        "data digest": f"`{record['data_digest']}`",
        "commit": f"`{commit}`{dirty}",
        "configuration": f"`{record['config_hash']}`",
        "checkpoint, sha256": f"`{record['checkpoint_sha256']}`",
    }
    warning = "" if scale["comparable"] else "**Not comparable with the paper; numbers of this scale mean nothing.** "
    named = {group: [c["name"] for c in trained.categories if c["split"] == group] for group in ("base", "novel")}
    lines = [
        f"# {record['run']}, seed {record['seed']}",
        "",
        f"{warning}{scale['note'].strip()}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        *(
            f"**{group.capitalize()}** categories, trained with {trained.trained_with[group]} ({len(names)}): "
            f"{', '.join(names)}.\n"
            for group, names in named.items()
        ),
        f"Mask AP on the validation images: {_ap(metrics)}.",
        "",
        "`config.json` is the resolved configuration, `categories.json` the categories in the order of the labels.",
        "Use: `contrastmask predict IMAGE... --model THIS_FOLDER`",
    ]
    return "\n".join(lines) + "\n"


def _metrics(run: Path) -> dict[str, Any] | None:
    path = run / "metrics.json"
    if not path.exists():
        return None
    metrics = read_record(path, {"segm": dict})
    check(metrics, "metrics", str(path))
    return metrics


def _ap(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "not measured"
    values = {group: metrics["segm"].get(group, {}).get("AP") for group in ("novel", "base")}
    return ", ".join(f"{group} {100 * ap:.1f}" if ap is not None else f"{group} -" for group, ap in values.items())
