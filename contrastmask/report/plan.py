"""What the wanted tables need: the distinct runs, what of them is there, what is left and what it will cost.

Costs come from finished runs of the same scale on this kind of machine, where a method and backbone have none from
a calibration (benchmarks/calibrate.py), else they are not known. An estimate that was saved before a run finished is
compared with what it took.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from contrastmask.config import RunSpec, Settings, Table, all_runs, config_hash, resolve
from contrastmask.report.cost import CALIBRATED, Cost, Costs, Estimate, Knowledge, System, expected_cost, total
from contrastmask.runtime.files import write_json
from contrastmask.runtime.provenance import provenance
from contrastmask.training.train import total_iterations

MACHINE = ("hw.cpu", "hw.cores", "hw.gpu")
COCO_IMAGES = {"train": 118_287, "val": 5_000}  # COCO 2017

State = Literal["done", "trained", "half-done", "changed", "to do"]


@dataclass(frozen=True)
class Job:
    """One run with one seed."""

    run: RunSpec
    seed: int
    state: State
    """`trained`: to be evaluated; `changed`: was finished under another configuration or other data."""
    iteration: int
    """Of the last checkpoint."""
    iterations: int | None
    """Of the whole training; None while the data's size is not known."""
    left: Cost
    """What remains to be done."""
    expected: Cost
    """The whole run."""
    actual: float | None
    """Seconds that the finished run took."""
    planned: Estimate | None
    """Seconds that were saved as its estimate before it finished."""

    @property
    def key(self) -> str:
        return f"{self.run.id}/seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """The wanted tables' runs at one scale on this machine."""

    scale: dict[str, Any]
    rows: dict[str, tuple[str, ...]]
    """By run id, the rows that share it, "table: label", or that read its boxes."""
    jobs: tuple[Job, ...]
    knowledge: Knowledge
    machine: dict[str, str]
    device: Literal["GPU", "CPU"]
    per_run: int
    """GPUs or CPU threads of a run."""
    at_once: int
    """Runs that this machine takes at once."""

    @property
    def left(self) -> list[Job]:
        return [job for job in self.jobs if job.state != "done"]

    @property
    def time_left(self) -> Estimate | None:
        """Seconds of all runs that are left, one after the other; None if one is not known."""
        costs = [job.left.seconds for job in self.left]
        return None if None in costs else total(cost for cost in costs if cost)

    @property
    def size_left(self) -> Estimate | None:
        """Bytes that the runs that are left will keep; None if one is not known."""
        sizes = [job.left.size for job in self.left]
        return None if None in sizes else total(size for size in sizes if size)

    @property
    def compared(self) -> list[Job]:
        """Finished runs with an estimate from before."""
        return [job for job in self.jobs if job.planned and job.actual is not None]


def make_plan(settings: Settings, tables: dict[str, Table]) -> Plan:
    """The plan of `tables` as things stand under results/<scale>. Reads files only, no weights."""
    facts = provenance()
    machine = {key: facts[key] for key in MACHINE}
    folder = _Folder(settings)
    runs = all_runs(tables)
    knowledge = gather(settings, machine, runs)
    gpu = machine["hw.gpu"] not in ("none", "unknown")
    per_run = settings.gpus_per_run * (1 if gpu else settings.scale["threads"])
    there = _count(machine["hw.gpu"]) if gpu else int(machine["hw.cores"]) if machine["hw.cores"].isdigit() else 1
    return Plan(
        scale=settings.scale,
        rows=_rows(tables),
        jobs=tuple(job for run in runs.values() for job in folder.jobs(run, knowledge)),
        knowledge=knowledge,
        machine=machine,
        device="GPU" if gpu else "CPU",
        per_run=per_run,
        at_once=max(1, there // per_run),
    )


def _rows(tables: dict[str, Table]) -> dict[str, tuple[str, ...]]:
    rows = defaultdict(list)
    for table in tables.values():
        for row in table.rows:
            if row.run:
                rows[row.run.id].append(f"{table.name}: {row.label or row.method}")
            if row.run and row.run.detector:
                rows[row.run.detector.id].append(f"{table.name}: boxes for {row.label or row.method}")
    return {run: tuple(labels) for run, labels in rows.items()}


def _count(gpus: str) -> int:
    """GPUs in provenance's "2 x NVIDIA H100, 1 x ..."."""
    return sum(int(part.split(" x ")[0]) for part in gpus.split(", "))


def system(run: RunSpec) -> System:
    """What a run's cost depends on, beside scale, batch and machine."""
    return System(run.method, run.backbone, json.dumps([run.preset, run.options, run.config]))


# ---------------------------------------------------------------------------- what is there


@dataclass(frozen=True)
class _Folder:
    """results/<scale>"""

    settings: Settings

    @cached_property
    def dataset(self) -> dict[str, Any]:
        return read(self.settings.dataset)

    @cached_property
    def planned(self) -> dict[str, Any]:
        return read(self.settings.folder / "plan.json").get("runs", {})

    def images(self, part: str) -> int | None:
        """Images of train or val; None where only verification will tell."""
        kind = self.settings.scale["dataset"]
        known = {"synthetic": kind.get(f"{part}_images"), "coco": COCO_IMAGES[part]}
        described = self.dataset.get(part)
        count = described.get("n_images") if isinstance(described, dict) else None
        return count if _is_amount(count) else known.get(kind["kind"])

    def jobs(self, run: RunSpec, knowledge: Knowledge) -> Iterator[Job]:
        """A run with each seed."""
        config = resolve(run, self.settings)
        current, kind = config_hash(config), system(run)
        train, val = self.images("train"), self.images("val")
        whole = 0 if run.detector else None if train is None else total_iterations(config, train)
        expected = expected_cost(kind, whole, val, knowledge)
        for seed in self.settings.seeds:
            state, iteration = self.state(self.settings.run_folder(run.id, seed), current, whole)
            done = state == "done"
            remaining = 0 if done or state == "trained" else None if whole is None else whole - iteration
            saved = self.planned.get(f"{run.id}/seed{seed}")
            yield Job(
                run=run,
                seed=seed,
                state=state,
                iteration=iteration,
                iterations=whole,
                left=expected_cost(kind, remaining, 0 if done else val, knowledge),
                expected=expected,
                actual=actual_seconds(self.settings.folder, run.id, seed) if done else None,
                planned=Estimate(**{k: saved[k] for k in ("value", "low", "high", "basis")}) if saved else None,
            )

    def state(self, place: Path, current: str, whole: int | None) -> tuple[State, int]:
        """What is there of a run, and the iteration of its last checkpoint."""
        if not place.is_dir():
            return "to do", 0
        metrics = read(place / "metrics.json")
        if metrics.get("config_hash") == current and self._same_data(metrics):
            return "done", whole or 0
        record = read(place / "train.json")
        if record.get("config_hash") == current and self._same_data(record) and (place / "model.pth").exists():
            return "trained", record.get("iterations", whole or 0)
        config = read(place / "config.json")
        checkpoints = [int(p.stem[5:]) for p in place.glob("work/iter_*.pth") if p.stem[5:].isdigit()]
        if checkpoints and config and config_hash(config) == current and self._same_data(record):
            return "half-done", min(max(checkpoints), whole or max(checkpoints))
        return ("changed" if metrics else "to do"), 0

    def _same_data(self, record: dict[str, Any]) -> bool:
        """Whether a record is of the data as they are, as far as both say."""
        now, then = self.dataset.get("digest"), record.get("data_digest")
        return None in (now, then) or now == then


NUMBERS = ("seconds", "iterations", "n_images", "s")  # of the files that are read here


def read(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, {} if there is none that can be read: what is damaged will be made again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(content, dict) and all(_is_amount(content[key]) for key in NUMBERS if key in content)
    return content if whole else {}


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def actual_seconds(folder: Path, run: str, seed: int) -> float | None:
    """Seconds of training and evaluation, processes included; None without a record."""
    place = folder / "runs" / run / f"seed{seed}"
    parts = []
    for rule, record in (("train", "train.json"), ("evaluate", "metrics.json")):
        work = read(place / record).get("seconds")
        if work is None and rule == "train":
            continue  # a run that reads another's boxes is not trained
        if work is None:
            return None
        # the benchmark is of the last process: of a run that was stopped it misses the earlier ones
        parts.append(max(work, _process_seconds(folder, rule, run, seed) or 0))
    return sum(parts)


def _process_seconds(folder: Path, rule: str, run: str, seed: int) -> float | None:
    """Wall time that Snakemake measured of a rule's process."""
    return read(folder / "benchmarks" / rule / f"{run}_seed{seed}.jsonl").get("s")


# ---------------------------------------------------------------------------- what is known about costs


def gather(settings: Settings, machine: dict[str, str], runs: dict[str, RunSpec]) -> Knowledge:
    """Costs of runs finished at this scale on such a machine with such a batch, and of a calibration.

    Args:
        settings: name the folder.
        machine: the facts MACHINE.
        runs: of the tables, by id.
    """
    found = list(_finished(settings, machine, runs))
    pairs = {(record.system.method, record.system.backbone) for record in found}
    calibration = read(settings.folder / "calibration.json")
    fits = calibration.get("machine") == machine and calibration.get("batch") == batch(settings)
    added = [_Record.of(entry) for entry in calibration.get("systems", [])] if fits else []
    added = [record for record in added if (record.system.method, record.system.backbone) not in pairs]
    sources = [f"{len(found)} finished run{'s' * (len(found) > 1)}"] if found else []
    sources += [f"the calibration of {len(added)} system{'s' * (len(added) > 1)}"] if added else []
    every = [*found, *added]
    startups = [record.startup for record in found if record.startup is not None]
    least = CALIBRATED if added else 0.0
    return Knowledge(
        iteration=Costs([(r.system, r.iteration) for r in every], least),
        image=Costs([(r.system, r.image) for r in every if r.image], least),
        size=Costs([(r.system, r.size) for r in every if r.size]),
        startup=statistics.median(startups) if startups else calibration.get("startup", 0.0) if added else 0.0,
        source=" and ".join(sources),
    )


def batch(settings: Settings) -> list[int]:
    """GPUs of a run and the images that each takes at once."""
    return [settings.gpus_per_run, settings.images_per_gpu]


@dataclass(frozen=True)
class _Record:
    """Seconds of an iteration, seconds of an evaluated image, bytes kept, seconds around the training loop."""

    system: System
    iteration: float
    image: float | None
    size: float | None
    startup: float | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "_Record":
        """From a line of calibration.json."""
        return cls(System(**entry["system"]), entry["iteration"], entry["image"], entry["size"])


def _finished(settings: Settings, machine: dict[str, str], runs: dict[str, RunSpec]) -> Iterator[_Record]:
    for file in sorted((settings.folder / "runs").glob("*/seed*/train.json")):
        try:
            record = _record(file, settings, machine, runs)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError):  # a damaged file tells nothing
            continue
        if record:
            yield record


def _record(file: Path, settings: Settings, machine: dict[str, str], runs: dict[str, RunSpec]) -> _Record | None:
    """What a train.json and the files beside it tell; None if it is of another machine or batch."""
    train, config, metrics = (read(file.with_name(name)) for name in (file.name, "config.json", "metrics.json"))
    there = [train["gpus_per_run"], train["images_per_gpu"], train["batch"]]
    if {key: train["provenance"].get(key) for key in MACHINE} != machine:
        return None
    if there != [*batch(settings), settings.scale["batch"]]:
        return None
    run, seed = train["run"], int(file.parent.name.removeprefix("seed"))
    process = _process_seconds(settings.folder, "train", run, seed)
    return _Record(
        system=system(runs[run]) if run in runs else _system_of(config),
        iteration=train["seconds"] / train["iterations"],
        image=metrics["seconds"] / metrics["n_images"] if metrics.get("n_images") else None,
        size=_bytes(file.parent) if metrics else None,
        startup=process - train["seconds"] if process and process > train["seconds"] else None,
    )


def _system_of(config: dict[str, Any]) -> System:
    """The system of a resolved configuration, of which a row's free configuration can no longer be told."""
    options = [[key, value] for key, value in sorted(config["options"].items())]
    return System(config["method"], config["backbone"], json.dumps([config["preset"], options, ""]))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------------------- what was planned


def save(plan: Plan, folder: Path) -> Path:
    """Write the estimates into results/<scale>/plan.json. A finished run keeps the one from before it finished."""
    file = folder / "plan.json"
    runs = read(file).get("runs", {})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for job in plan.left:
        if seconds := job.expected.seconds:
            runs[job.key] = {**vars(seconds), "made": now}
    write_json(file, {"scale": plan.scale["name"], "machine": plan.machine, "runs": runs})
    return file
