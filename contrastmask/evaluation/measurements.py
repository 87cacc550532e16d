"""What lies behind a finished run's metrics: which detections matched, and the mask IoU of each object."""

import contextlib
import difflib
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pycocotools.coco import COCO

from contrastmask.config.yamlfiles import check
from contrastmask.data.dataset import read_dataset
from contrastmask.data.normalise import Originals
from contrastmask.errors import DataError
from contrastmask.evaluation import bootstrap
from contrastmask.evaluation.bootstrap import Floats, Ranking
from contrastmask.evaluation.coco_metrics import METRICS, IouType, matches
from contrastmask.paths import check_place, run_folder

Size = tuple[float, float]
"""From and up to, of a mask's area in pixels."""
EVERY: Size = (0.0, np.inf)
SIZES: dict[str, Size] = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO's


class MeasurementError(DataError):
    """A run that cannot be looked at. The message names the file and the fix."""


@dataclass(frozen=True)
class Val:
    """The val data of a scale."""

    name: str
    digest: str
    truth: COCO

    @cached_property
    def images(self) -> dict[int, int]:
        """Position of each image id, in COCOeval's order."""
        return {id: position for position, id in enumerate(sorted(self.truth.imgs))}


def read_val(folder: Path) -> Val:
    """The val data of a scale's results folder; MeasurementError if the data is not there."""
    file = folder / "data" / "dataset.json"
    if not file.exists():
        raise MeasurementError(f"{file} is missing: run `snakemake --cores 1 {file}` first")
    try:
        dataset = read_dataset(file)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(dataset["val"]["annotations"])
    except (OSError, ValueError, KeyError) as error:
        raise MeasurementError(f"{file} or the annotations that it names cannot be read: {error!r}") from None
    return Val(dataset["name"], dataset["digest"], truth)


@dataclass(frozen=True)
class Measurements:
    """What one seed of one run gave on each val image."""

    folder: Path
    metrics: dict[str, Any]
    val: Val
    objects: pd.DataFrame
    """Of each but crowds: position of its `image`, `category`, `area`, and `iou` of its mask in its true box."""
    _done: dict[tuple[str, int, int], tuple[Floats, Floats]] = field(default_factory=dict, repr=False, compare=False)
    """By kind, category and area range: the weights last asked for, and AP under them. It takes seconds on COCO."""

    def categories(self, subset: str) -> list[int]:
        """Category ids of `novel`, `base` or `all`."""
        measured = (c for c in self.metrics["per_category"] if c.get("trained", True))
        return [c["id"] for c in measured if subset in ("all", c["split"])]

    @cached_property
    def _detections(self) -> list[dict[str, Any]]:
        file = self.folder / "detections.json.gz"
        try:
            with gzip.open(file, "rt", encoding="utf-8") as stream:
                return Originals(self.val.truth).our_detections(json.load(stream))
        except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, RecursionError) as error:
            raise MeasurementError(f"{file} cannot be read: {error}; evaluate the run again") from None

    @cached_property
    def segm(self) -> dict[int, list[Ranking]]:
        """Of each category its ranking in each area range (all, small, medium, large), by mask IoU."""
        return self._rankings("segm")

    @cached_property
    def bbox(self) -> dict[int, list[Ranking]]:
        """As `segm`, by box IoU."""
        return self._rankings("bbox")

    def _rankings(self, kind: IouType) -> dict[int, list[Ranking]]:
        try:
            detections = [d for d in self._detections if kind == "bbox" or "segmentation" in d]
            evaluation = matches(self.val.truth, detections, kind)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # by what a damaged file holds
            raise MeasurementError(f"{self.folder / 'detections.json.gz'}: {error!r}; evaluate the run again") from None
        by_category = dict(zip(evaluation.params.catIds, bootstrap.rankings(evaluation), strict=True))
        self._check(kind, by_category)
        return by_category

    def _check(self, kind: str, found: dict[int, list[Ranking]]) -> None:
        """The measurements must give the AP that metrics.json holds, or one of them is not of this run."""
        once = np.ones((1, len(self.val.images)))
        for entry in self.metrics["per_category"]:
            measured = float(bootstrap.mean_measured(bootstrap.average_precision(found[entry["id"]][0], once), (1,))[0])
            said = entry[f"{kind}_AP"]
            if said is not None and not abs(measured - said) < 1e-6:
                raise MeasurementError(
                    f"{self.folder / 'detections.json.gz'} gives {kind} AP {measured:.6f} for {entry['name']}, but"
                    f" metrics.json says {said:.6f}: evaluate the run again"
                )

    def average_precision(
        self, categories: Sequence[int], weights: Floats, metric: str = "AP", kind: IouType = "segm"
    ) -> Floats:
        """(B,) AP over `categories` under B weightings of the images; `metric` is one of COCO's six."""
        thresholds, area = METRICS[metric]
        values = np.stack([self._average_precision(kind, c, area, weights) for c in categories], axis=1)
        chosen = values[:, :, thresholds].reshape(len(weights), -1)
        return bootstrap.mean_measured(chosen, (1,))

    def _average_precision(self, kind: IouType, category: int, area: int, weights: Floats) -> Floats:
        """(B, 10) of one category; NaN where evaluation measured nothing: its objects or the run have no masks."""
        measured = {c["id"]: c[f"{kind}_AP"] for c in self.metrics["per_category"]}[category] is not None
        if not measured:
            return np.full((len(weights), len(bootstrap.IOUS)), np.nan)
        before, values = self._done.get((kind, category, area), (None, weights))
        if before is not weights:
            table = self.segm if kind == "segm" else self.bbox
            values = bootstrap.average_precision(table[category][area], weights)
            self._done[kind, category, area] = weights, values
        return values

    def mean_iou(self, categories: Sequence[int], weights: Floats, size: Size = EVERY) -> Floats:
        """(B,) mean mask IoU in ground-truth boxes over objects of `categories` whose mask area is in `size`."""
        sums, counts = self.iou_by_image(categories, size)
        return bootstrap.weighted_mean(sums, counts, weights)

    def iou_by_image(self, categories: Sequence[int], size: Size = EVERY) -> tuple[Floats, Floats]:
        """Sum of mask IoUs in ground-truth boxes and number of objects, (N,) each."""
        of_size = self.objects["area"].between(*size, inclusive="left")
        chosen, n = self.objects[of_size & self.objects["category"].isin(categories)], len(self.val.images)
        sums = np.bincount(chosen["image"], weights=chosen["iou"], minlength=n)
        counts = np.bincount(chosen["image"], minlength=n)
        return sums.astype(np.float64), counts.astype(np.float64)


def finished_seeds(folder: Path, run: str) -> list[int]:
    """Seeds of a run that have been evaluated, in a scale's results folder."""
    files = (folder / "runs" / run).glob("seed*/metrics.json")
    return sorted(int(name) for file in files if (name := file.parent.name.removeprefix("seed")).isdecimal())


def check_run(folder: Path, run: str) -> None:
    """Raise MeasurementError, with the nearest names, unless a seed of `run` has been evaluated."""
    if finished_seeds(folder, run):
        return
    known = sorted({file.parent.parent.name for file in (folder / "runs").glob("*/seed*/metrics.json")})
    near = difflib.get_close_matches(run, known, n=5, cutoff=0.4) or known[:5]
    hint = f"; finished runs like it: {', '.join(near)}" if near else ": no run there is finished"
    raise MeasurementError(f"{folder / 'runs' / run} holds no evaluated seed{hint}")


def read_measurements(folder: Path, run: str, seed: int, val: Val) -> Measurements:
    """One seed of a run. Detections are matched when they are first asked for.

    Args:
        folder: results/<scale>.

    Raises:
        MeasurementError: a file is missing, damaged or of other data.
    """
    place = run_folder(folder, run, seed)
    try:
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        check(metrics, "metrics", "metrics.json")
        check_place(metrics, place)
        ious = pd.read_csv(
            place / "gt_box_iou.csv",
            usecols=["annotation_id", "iou"],
            index_col=False,
            dtype={"annotation_id": str, "iou": float},
            keep_default_na=False,
            float_precision="round_trip",
        )
        digest = metrics["data_digest"]
        measured = {c["id"]: (c["segm_AP"], c["bbox_AP"]) for c in metrics["per_category"]}
    except FileNotFoundError as error:
        raise MeasurementError(f"{error.filename} is missing: evaluate {run}, seed {seed}, first") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MeasurementError(f"{place} cannot be read: {error!r}; evaluate the run again") from None
    if digest != val.digest:
        raise MeasurementError(f"{place / 'metrics.json'} was measured on other data than {val.name} as it is now")
    if measured.keys() != val.truth.cats.keys():
        raise MeasurementError(f"{place / 'metrics.json'} has other categories than {val.name}: evaluate the run again")
    ours = Originals(val.truth).our_annotations()
    unknown = [id for id in ious["annotation_id"] if id not in ours]
    if unknown:
        raise MeasurementError(f"{place / 'gt_box_iou.csv'} has annotation {unknown[0]}, which {val.name} lacks")
    found = [val.truth.anns[ours[id]] for id in ious["annotation_id"]]
    lines = ((val.images[o["image_id"]], o["category_id"], float(o["area"])) for o in found)
    objects = pd.DataFrame(lines, columns=["image", "category", "area"]).assign(iou=ious["iou"].to_numpy())
    objects = objects.astype({"image": int, "category": int})  # also where there are none
    return Measurements(place, metrics, val, objects)
