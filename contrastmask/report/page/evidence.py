"""What the files of a run say about it: the proof behind a table's cell."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contrastmask.config import Settings
from contrastmask.config.yamlfiles import check
from contrastmask.errors import ConfigError
from contrastmask.tracking.curves import Curve, read_curves
from contrastmask.tracking.sending import mlflow_run

FILES = ("train.json", "metrics.json", "config.json")
SCHEMAS = ("train", "metrics")  # in workflow/schemas


@dataclass(frozen=True)
class Evidence:
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


def read_evidence(settings: Settings, run: str, seed: int) -> Evidence:
    """Everything that the folder of a run and seed holds; never raises for what is missing or damaged."""
    folder = settings.run_folder(run, seed)
    problems: list[str] = []
    train, metrics, config = (_json(folder / name, problems) for name in FILES)
    uri, mlflow_id = mlflow_run(folder)
    return Evidence(
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


def hardware(evidence: Evidence) -> str:
    """The machine in a few words; "" if nothing is recorded."""
    facts = evidence.provenance
    gpu = facts.get("hw.gpu", "none")
    if evidence.train.get("gpu_memory_bytes") and gpu not in ("none", "unknown"):
        return gpu
    return f"CPU: {facts['hw.cpu']}, {facts.get('hw.cores', '?')} cores" if "hw.cpu" in facts else ""


def mean_seconds(seeds: Sequence[Evidence]) -> float | None:
    """Mean training time over the finished seeds, in s of wall clock."""
    times = [float(seed.train["seconds"]) for seed in seeds if "seconds" in seed.train]
    return sum(times) / len(times) if times else None
