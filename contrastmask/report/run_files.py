"""What the files of a run say about it: what stands behind a table's cell."""

import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contrastmask.config import Settings
from contrastmask.config.yamlfiles import check
from contrastmask.errors import ConfigError
from contrastmask.report.plan import duration
from contrastmask.tracking.curves import Curve, read_curves
from contrastmask.tracking.sending import mlflow_run

FILES = ("train.json", "metrics.json", "config.json")
SCHEMAS = ("train", "metrics")  # in workflow/schemas
SOFTWARE = {"Python": "python", "torch": "torch", "mmdet": "mmdet"}


@dataclass(frozen=True)
class RunFiles:
    """One training: a run and a seed. A file that is not there is {}; one that cannot be read is a problem."""

    run: str
    seed: int
    train: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    mlflow_id: str = ""
    mlflow_link: str = ""
    """Of the run's page on a tracking server; "" for a store that is a file."""
    problems: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """How far it is: what is done last."""
        if self.problems:
            return "unreadable"
        if self.metrics:
            return "evaluated"
        if self.train:
            return "trained, not evaluated"
        return "begun" if self.config or self.curves else "not run"

    @property
    def provenance(self) -> dict[str, str]:
        """Commit, versions, hardware."""
        return self.train.get("provenance", {})

    def facts(self) -> list[tuple[str, str]]:
        """What is recorded of its making, for a person: name and value."""
        train, metrics, made = self.train, self.metrics, self.provenance
        dirty = ", with local changes" if made.get("git.dirty") == "true" else ""
        versions = ", ".join(f"{name} {made.get(f'version.{key}', '?')}" for name, key in SOFTWARE.items())
        either = train | {key: metrics[key] for key in metrics if key not in train}
        memory = train.get("gpu_memory_bytes")
        facts = {
            "Code": made.get("git.commit", "")[:12] + dirty,
            "Code digest": train.get("code_digest"),
            "Configuration": either.get("config_hash"),
            "Data": either.get("data_digest"),
            "Split": train.get("split_digest"),
            "Checkpoint": either.get("checkpoint_sha256"),
            "Hardware": hardware(self),
            "Software": versions if made else "",
            "Training": _took(train, f"{train.get('iterations')} iterations of {train.get('batch')} images"),
            "GPU memory": f"{memory / 2**30:.1f} GiB at most" if memory else "",
            "Evaluation": _took(metrics, f"{metrics.get('n_images')} images"),
        }
        return [(name, value) for name, value in facts.items() if value]


def _took(record: dict[str, Any], what: str) -> str:
    return f"{duration(record['seconds'])}, {what}" if "seconds" in record else ""


def read_run_files(settings: Settings, run: str, seed: int) -> RunFiles:
    """Everything that the folder of a run and seed holds; never raises for what is missing or damaged."""
    folder = settings.run_folder(run, seed)
    problems: list[str] = []
    train, metrics, config = (_json(folder / name, problems) for name in FILES)
    uri, mlflow_id = mlflow_run(folder)
    return RunFiles(
        run=run,
        seed=seed,
        train=train,
        metrics=metrics,
        config=config,
        curves=read_curves(folder),
        mlflow_id=mlflow_id,
        mlflow_link=run_page(uri, mlflow_id),
        problems=tuple(problems),
    )


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path.name}: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name}: it holds no JSON object")
        return {}
    if path.stem in SCHEMAS:
        try:
            check(content, path.stem, path.name)
        except ConfigError as error:
            problems.append(str(error))
            return {}
    return content


def thin(curve: Curve, most: int) -> Curve:
    """At most `most` points: the means of equally long stretches, each at its last iteration."""
    if len(curve) <= most:
        return curve
    edges = [round(i * len(curve) / most) for i in range(most + 1)]
    stretches = [curve[start:end] for start, end in pairwise(edges)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in stretches]


def run_page(uri: str, run_id: str) -> str:
    """Address of a run on an MLflow server, without the credentials that the address of a server may hold."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[0-9a-f]+", run_id):
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/#/runs/{run_id}"


def hardware(files: RunFiles) -> str:
    """The machine in a few words; "" if nothing is recorded."""
    facts = files.provenance
    gpu = facts.get("hw.gpu", "none")
    if files.train.get("gpu_memory_bytes") and gpu not in ("none", "unknown"):
        return gpu
    return f"CPU: {facts['hw.cpu']}, {facts.get('hw.cores', '?')} cores" if "hw.cpu" in facts else ""
