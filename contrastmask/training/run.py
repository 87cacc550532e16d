"""A run on disk: its folder, what config.json there decides, and the descriptions of the data that it is trained on."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastmask.config import runfile
from contrastmask.data.dataset import read_dataset
from contrastmask.data.splits import read_split
from contrastmask.errors import ConfigError
from contrastmask.runtime.provenance import code_digest


@dataclass(frozen=True)
class Run:
    """One training with one seed, or one evaluation of another run's detections."""

    folder: Path
    decided: dict[str, Any]
    """The content of config.json (workflow/schemas/run.schema.yaml)."""
    dataset: dict[str, Any]
    """The content of dataset.json."""
    split: dict[str, Any]
    """The content of split.json."""
    code: str
    """Digest of the code that this process loaded: files may be edited while it runs."""

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run whose folder this is.

        Raises:
            ConfigError: config.json is missing or was edited, or the data has not been prepared.
            DataError: the description of data or split is damaged.
        """
        folder = Path(os.path.abspath(folder))
        decided = runfile.read(folder)
        dataset, split = (_inside(folder, decided["files"][name]) for name in ("dataset", "split"))
        for path in (dataset, split):
            if not path.exists():
                shown = os.path.relpath(path)
                raise ConfigError(f"{shown} is missing: run `snakemake --cores 1 {shown}` first")
        return cls(folder, decided, read_dataset(dataset), read_split(split), code_digest())

    @property
    def id(self) -> str:
        return self.decided["run"]

    @property
    def seed(self) -> int:
        return self.decided["seed"]

    @property
    def scale(self) -> str:
        return self.decided["scale"]["name"]

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return self.decided["config"]

    @property
    def config_hash(self) -> str:
        return self.decided["config_hash"]

    @property
    def options(self) -> dict[str, Any]:
        """Every option of the method."""
        return runfile.run_options_of(self.config)

    @property
    def uses_novel_masks(self) -> bool:
        """Whether this training measures an upper bound that breaks the protocol (option `novel_masks`)."""
        return self.decided["options"].get("novel_masks", "none") != "none"

    @property
    def passes(self) -> int:
        """Forward and backward passes of each GPU in an optimisation step, which is always over the whole batch."""
        return self.config["batch"] // (self.decided["gpus_per_run"] * self.decided["images_per_gpu"])

    @property
    def title(self) -> str:
        """Name in MLflow, whose lists cut it: what sets the run apart comes first."""
        d = self.decided
        options = ", ".join(f"{key}={value}" for key, value in d["options"].items())
        parts = [options, d["method"], f"{d['backbone']} {d['schedule']} {d['setting']}", f"seed {self.seed}"]
        return " · ".join(part for part in parts if part)

    @property
    def work(self) -> Path:
        """Checkpoints and lock: what nobody reads but the next process of this run."""
        return self.folder / "work"

    @property
    def identity(self) -> str:
        """What a checkpoint must be of to be gone on from: configuration, data, split and seed."""
        parts = [self.config_hash, self.dataset["digest"], self.split["digest"], str(self.seed)]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]

    def file(self, name: str) -> Path:
        """A file or folder that config.json names under `files`."""
        return _inside(self.folder, self.decided["files"][name])

    def file_or_none(self, name: str) -> Path | None:
        """The same; None where the run has none."""
        return self.file(name) if self.decided["files"].get(name) else None


def _inside(folder: Path, path: str) -> Path:
    return Path(os.path.normpath(folder / path))
