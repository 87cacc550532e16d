"""A run with everything that it reads: what training and evaluation start from."""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastmask.config import RunSpec, Settings, config_hash, find_run, resolve, settings_from_json
from contrastmask.config.settings import ALL_MASKS
from contrastmask.data.dataset import read_dataset
from contrastmask.data.splits import read_split
from contrastmask.errors import ConfigError
from contrastmask.runtime.provenance import code_digest
from contrastmask.tracking.tracking import Tracker, tracking_uri


@dataclass(frozen=True)
class Job:
    """A run and everything that it reads."""

    settings: Settings
    spec: RunSpec
    seed: int
    config: dict[str, Any]
    dataset: dict[str, Any]
    split: dict[str, Any]
    code: str  # digest of the code that this process loaded: files may be edited while it runs

    @property
    def folder(self) -> Path:
        return self.settings.run_folder(self.spec.id, self.seed)

    @property
    def title(self) -> str:
        """Name in MLflow, whose lists cut it: what sets the run apart comes first."""
        spec = self.spec
        options = ", ".join(f"{key}={value}" for key, value in spec.options)
        parts = [options, spec.method, f"{spec.backbone} {spec.schedule} {spec.setting}", f"seed {self.seed}"]
        return " · ".join(part for part in parts if part)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def identity(self) -> str:
        """What a checkpoint must be of to be gone on from: configuration, data, split and seed."""
        parts = [config_hash(self.config), self.dataset["digest"], self.split["digest"], str(self.seed)]
        return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]

    @property
    def annotations(self) -> Path:
        """Training annotations without novel masks; with all masks for a run that measures an upper bound."""
        name = ALL_MASKS if self.spec.uses_novel_masks else "instances_train.json"
        return self.settings.split(self.spec.setting).with_name(name)

    @property
    def priors(self) -> Path | None:
        """ShapeMask's shape priors; None for every other method."""
        return self.settings.shape_priors(self.spec.setting, self.config["model"]["roi_head"]["options"])


def load_job(settings: Settings, run: str, seed: int, *, derived: bool = False) -> Job:
    """Resolve a run and read its data's descriptions.

    `derived`: whether the caller makes runs that read a detector's results, or those that are trained.

    Raises:
        ConfigError: unknown run, one that is made otherwise, or the data has not been prepared.
        DataError: the description of data or split is damaged.
    """
    spec = find_run(settings, run)
    if derived != bool(spec.detector):
        raise ConfigError(f"{spec.id} is {_made_by(spec)}")
    dataset, split = settings.dataset, settings.split(spec.setting)
    for path in (dataset, split):
        if not path.exists():
            raise ConfigError(f"{path} is missing: run `snakemake --cores 1 {path}` first")
    return Job(
        settings=settings,
        spec=spec,
        seed=seed,
        config=resolve(spec, settings),
        dataset=read_dataset(dataset),
        split=read_split(split),
        code=code_digest(),
    )


def parse_job(description: str | None, arguments: list[str] | None = None, *, derived: bool = False) -> Job:
    """The job that a command line names (see `load_job`); a mistake ends the process with one message and code 2."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--run", required=True, help="run id, as under results/<scale>/runs")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--settings", default="{}", help="JSON of what differs from configs/config.yaml")
    given = parser.parse_args(arguments)
    try:
        return load_job(settings_from_json(given.settings), given.run, given.seed, derived=derived)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


def _made_by(spec: RunSpec) -> str:
    if spec.detector:
        return f"an evaluation of {spec.detector.id}, without weights of its own: use contrastmask.evaluation.grabcut"
    return "trained and has its own masks: use `contrastmask train`, then `contrastmask evaluate`"


def open_tracker(job: Job) -> Tracker:
    """The tracker of a run, shared by training and evaluation."""
    return Tracker(
        job.work,
        experiment=f"contrastmask/{job.settings.scale['name']}",
        run_name=job.title,
        uri=tracking_uri(job.settings.results),
    )
