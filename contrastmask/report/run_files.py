"""What the files of a run say about it: what stands behind a table's cell."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contrastmask.config.yamlfiles import check
from contrastmask.paths import check_place
from contrastmask.runtime.terminal import duration
from contrastmask.tracking.curves import Curve, read_curves
from contrastmask.tracking.sending import mlflow_run

METRICS_FILE = "metrics.json"
FILES = ("train.json", METRICS_FILE, "config.json")
SCHEMAS = ("train", "metrics")  # in workflow/schemas
SOFTWARE = {"Python": "python", "torch": "torch", "mmdet": "mmdet"}


@dataclass(frozen=True)
class RunFiles:
    """One training: a run and a seed. A file that is not there is {}; one that cannot be read is a problem too."""

    folder: Path
    """results/<scale>/runs/<run>/seed<k>"""
    train: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """By file."""

    @property
    def run(self) -> str:
        return self.folder.parent.name

    @property
    def seed(self) -> int:
        return int(self.folder.name.removeprefix("seed"))

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Of the training, by the loss's name."""
        return read_curves(self.folder)

    @property
    def mlflow_id(self) -> str:
        return mlflow_run(self.folder)[1]

    @property
    def mlflow_link(self) -> str:
        """Of the run's page on a tracking server; "" for a store that is a file."""
        return run_page(*mlflow_run(self.folder))

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
        """Commit, versions, hardware: of the training, of the evaluation where nothing is trained."""
        return (self.train or self.metrics).get("provenance", {})

    def facts(self) -> list[tuple[str, str]]:
        """What is recorded of its making, for a person: name and value."""
        train, metrics, made = self.train, self.metrics, self.provenance
        dirty = ", with local changes" if made.get("git.dirty") == "true" else ""
        versions = ", ".join(f"{name} {made.get(f'version.{key}', '?')}" for name, key in SOFTWARE.items())
        either = train | {key: metrics[key] for key in metrics if key not in train}
        memory = train.get("gpu_memory_bytes")
        facts = {
            "Code": made.get("git.commit", "")[:12] + dirty,
            "Code digest": either.get("code_digest"),
            "Configuration": either.get("config_hash"),
            "Data": either.get("data_digest"),
            "Split": either.get("split_digest"),
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


def read_run_files(folder: Path, names: Iterable[str] = FILES) -> RunFiles:
    """What those of FILES in the folder of a run and seed hold; never raises for what is missing or damaged."""
    problems: dict[str, str] = {}
    found = {Path(name).stem: _json(folder / name, problems) for name in names}
    return RunFiles(folder, **found, problems=problems)


def _json(path: Path, problems: dict[str, str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        if path.stem in SCHEMAS:
            check(content, path.stem, path.name)
            check_place(content, path.parent)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        problems[path.name] = str(error)
        return {}
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which is no number")


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
