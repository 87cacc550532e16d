"""Two runs side by side: what differs in their configuration, what they measure, and where each is better.

A gain is B - A. Its interval is a paired bootstrap: the same resampled val images, and the same resampled seeds where
there are several, for both runs (evaluation/bootstrap.py).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contrastmask.config import runfile
from contrastmask.evaluation import bootstrap
from contrastmask.evaluation.bootstrap import Floats, Interval
from contrastmask.evaluation.measurements import (
    EVERY,
    SIZES,
    MeasurementError,
    Measurements,
    Size,
    Val,
    check_run,
    finished_seeds,
    read_measurements,
    read_val,
)
from contrastmask.report.paper import METRICS

SUBSETS = ("novel", "base", "all")
SIZE_OF = {"APs": "small", "APm": "medium", "APl": "large"}
ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """A key of the two resolved configurations; values as JSON, None where a configuration lacks the key."""

    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class Gain:
    """One reading of both runs, means over the seeds, as fractions; None where there is nothing to measure."""

    name: str
    objects: int
    a: float | None
    b: float | None
    gain: Interval | None


@dataclass(frozen=True)
class ImageGain:
    """Mean mask IoU in ground-truth boxes of one image's objects, as a fraction."""

    id: int
    file: str
    objects: int
    a: float
    b: float


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown of two runs."""

    a: str
    b: str
    scale: dict[str, Any]
    """`name`, `note`, `comparable`."""
    data: str
    n_images: int
    subset: str
    seeds: tuple[int, ...]
    resamples: int
    seed: int
    """Of the resampling."""
    config: tuple[Difference, ...]
    metrics: tuple[Gain, ...]
    sizes: tuple[Gain, ...]
    """Mean mask IoU in ground-truth boxes by object size."""
    category_ap: tuple[Gain, ...]
    """Mask AP of each category, largest gain first."""
    category_iou: tuple[Gain, ...]
    """Mean mask IoU in ground-truth boxes of each category, largest gain first."""
    images: tuple[ImageGain, ...]
    """Every image with objects of the subset, largest gain first."""

    @property
    def method(self) -> str:
        """How the intervals were made."""
        what = "images" if len(self.seeds) == 1 else f"images and of the {len(self.seeds)} seeds"
        alone = " One seed: the interval does not hold what another seed would change." * (len(self.seeds) == 1)
        return (
            f"Gain is B - A with its {bootstrap.LEVEL:.0%} percentile interval from {self.resamples} paired bootstrap"
            f" resamples (seed {self.seed}) of the {self.n_images} val {what}.{alone}"
        )


def compare(
    folder: Path,
    a: str,
    b: str,
    scale: dict[str, Any],
    seeds: Sequence[int] = (),
    subset: str = "novel",
    resamples: int = bootstrap.RESAMPLES,
    seed: int = bootstrap.SEED,
) -> Comparison:
    """Compare the runs `a` and `b`.

    Args:
        folder: results/<scale>.
        scale: with `name`, `note` and `comparable`.
        seeds: to compare; every seed that both have finished if empty.
        subset: categories to measure on.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        MeasurementError: a run is not there, is not finished or is of other data.
    """
    for run in (a, b):
        check_run(folder, run)
    seeds = tuple(seeds) or _common_seeds(folder, a, b)
    val = read_val(folder)
    pair = Pair.read(folder, a, b, seeds, val, bootstrap.image_weights(len(val.images), resamples, seed))
    chosen = _chosen(pair, subset)
    names = {c["id"]: c["name"] for c in pair.a[0].metrics["per_category"]}
    return Comparison(
        a=a,
        b=b,
        scale={key: scale[key] for key in ("name", "note", "comparable")},
        data=val.name,
        n_images=len(val.images),
        subset=subset,
        seeds=tuple(seeds),
        resamples=resamples,
        seed=seed,
        config=tuple(differences(_config(folder, a, seeds[0]), _config(folder, b, seeds[0]))),
        metrics=tuple(_metrics(pair, chosen)),
        sizes=tuple(pair.iou(name, chosen, size) for name, size in SIZES.items()),
        category_ap=_sorted(pair.ap(names[c], [c]) for c in chosen),
        category_iou=_sorted(pair.iou(names[c], [c]) for c in chosen),
        images=tuple(sorted(_images(pair, chosen), key=lambda i: (i.a - i.b, i.id))),
    )


def _common_seeds(folder: Path, a: str, b: str) -> tuple[int, ...]:
    """Those that both runs have finished."""
    finished = {run: finished_seeds(folder, run) for run in (a, b)}
    common = tuple(sorted({*finished[a]} & {*finished[b]}))
    if not common:
        raise MeasurementError(f"{a} has finished seeds {finished[a]}, {b} {finished[b]}: none in common")
    return common


@dataclass(frozen=True)
class Pair:
    """The measurements of two runs, seed by seed, and the weightings of the val images for the comparison."""

    a: tuple[Measurements, ...]
    b: tuple[Measurements, ...]
    weights: Floats

    @classmethod
    def read(cls, folder: Path, a: str, b: str, seeds: Sequence[int], val: Val, weights: Floats) -> "Pair":
        left, right = (tuple(read_measurements(folder, run, seed, val) for seed in seeds) for run in (a, b))
        return cls(left, right, weights)

    def ap(self, name: str, categories: Sequence[int], metric: str = "AP", kind: Any = "segm") -> Gain:
        """AP over `categories`."""
        size = SIZES.get(SIZE_OF.get(metric, ""), EVERY)
        return self._gain(name, categories, lambda r: r.average_precision(categories, self.weights, metric, kind), size)

    def iou(self, name: str, categories: Sequence[int], size: Size = EVERY) -> Gain:
        """Mean mask IoU in ground-truth boxes of `categories`."""
        return self._gain(name, categories, lambda r: r.mean_iou(categories, self.weights, size), size)

    def _gain(self, name: str, categories: Sequence[int], read: Callable[[Measurements], Floats], size: Size) -> Gain:
        a, b = (np.stack([read(measurements) for measurements in side]) for side in (self.a, self.b))
        objects = int(self.a[0].iou_by_image(categories, size)[1].sum())
        found = bootstrap.interval(bootstrap.over_seeds(b - a))
        return Gain(name, objects, _number(a[:, 0].mean()), _number(b[:, 0].mean()), found)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _chosen(pair: Pair, subset: str) -> list[int]:
    """The subset's categories, which must be the same in both runs: another split is another question."""
    a, b = pair.a[0].categories(subset), pair.b[0].categories(subset)
    if a != b:
        raise MeasurementError(
            f"the {subset} categories of the two runs differ: they are of different settings. Compare them with"
            " --subset all, which holds every category"
        )
    if not a:
        raise MeasurementError(f"there are no {subset} categories")
    return a


def _metrics(pair: Pair, chosen: Sequence[int]) -> Iterator[Gain]:
    for metric in METRICS:
        yield pair.ap(f"mask {metric}", chosen, metric)
    yield pair.ap("box AP", chosen, "AP", "bbox")
    yield pair.iou("mask IoU in true boxes", chosen)


def _sorted(gains: Iterator[Gain]) -> tuple[Gain, ...]:
    """Largest gain first; categories without objects last."""
    return tuple(sorted(gains, key=lambda g: (g.gain is None, -g.gain.value if g.gain else 0.0, g.name)))


def _images(pair: Pair, chosen: Sequence[int]) -> Iterator[ImageGain]:
    a, b = (np.mean([r.iou_by_image(chosen)[0] for r in side], axis=0) for side in (pair.a, pair.b))
    counts = pair.a[0].iou_by_image(chosen)[1]
    for id, position in pair.a[0].val.images.items():
        if n := int(counts[position]):
            file = pair.a[0].val.truth.imgs[id]["file_name"]
            yield ImageGain(id, file, n, float(a[position]) / n, float(b[position]) / n)


def _config(folder: Path, run: str, seed: int) -> dict[str, Any]:
    file = folder / "runs" / run / f"seed{seed}" / "config.json"
    try:
        return runfile.resolved(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise MeasurementError(f"{file} cannot be read: {error}; train the run again") from None


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """The keys, dotted, whose values differ between two resolved configurations, in `a`'s order.

    Top-level `options` is left out: it says what a row changed, and model.roi_head.options holds every option.
    """
    left, right = ({k: v for k, v in _flat(c) if k.split(".")[0] != "options"} for c in (a, b))
    keys = [key for key in {**left, **right} if left.get(key, ABSENT) != right.get(key, ABSENT)]
    return [
        Difference(key, *(json.dumps(side[key]) if key in side else None for side in (left, right))) for key in keys
    ]


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key; a list is a leaf."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
