"""Two runs side by side: what differs in their configuration, what they measure, and where each is better.

A gain is B - A. Its interval is a paired bootstrap: the same resampled val images, and the same resampled seeds where
there are several, for both runs (evaluation/bootstrap.py).
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contrastmask.config import config_hash, runfile
from contrastmask.evaluation import bootstrap
from contrastmask.evaluation.bootstrap import Floats
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
from contrastmask.runtime.terminal import NOTHING

SIZE_OF = {"APs": "small", "APm": "medium", "APl": "large"}
ABSENT = object()


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown of two runs.

    Gains are data frames: what a line is of (`metric`, `size` or `category`), `objects`, `A` and `B`, means over the
    seeds, and `gain` with its interval, `low` to `high`. Fractions; NaN where there is nothing to measure.
    """

    a: str
    b: str
    subset: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    """What is compared, on what, and how."""
    config: pd.DataFrame
    """`key` of the resolved configurations where they differ, `A` and `B`: values as JSON, "–" where there is none."""
    metrics: pd.DataFrame
    sizes: pd.DataFrame
    """Mean mask IoU in ground-truth boxes by object size."""
    category_ap: pd.DataFrame
    """Mask AP of each category, largest gain first."""
    category_iou: pd.DataFrame
    """Mean mask IoU in ground-truth boxes of each category, largest gain first."""
    images: pd.DataFrame
    """`image`, `file`, `objects`, `A`, `B`, `gain`: the same of every image with objects of the subset."""


def compare(
    folder: Path,
    a: str,
    b: str,
    scale: dict[str, Any],
    seeds: Sequence[int] = (),
    subset: str = "novel",
    resamples: int = bootstrap.RESAMPLES,
) -> Comparison:
    """Compare the runs `a` and `b`.

    Args:
        folder: results/<scale>.
        scale: with `name` and `note`.
        seeds: to compare; every seed that both have finished if empty.
        subset: categories to measure on.
        resamples: of the bootstrap.

    Raises:
        MeasurementError: a run is not there, is not finished or is of other data.
    """
    for run in (a, b):
        check_run(folder, run)
    seeds = tuple(seeds) or _common_seeds(folder, a, b)
    val = read_val(folder)
    pair = Pair.read(folder, a, b, seeds, val, bootstrap.image_weights(len(val.images), resamples))
    chosen = _chosen(pair, subset)
    names = {c["id"]: str(c["name"]) for c in pair.a[0].metrics["per_category"]}
    return Comparison(
        a=a,
        b=b,
        subset=subset,
        seeds=seeds,
        notes=tuple(_notes(scale, val, seeds, resamples)),
        config=differences(_config(pair.a), _config(pair.b)),
        metrics=pd.DataFrame(_metrics(pair, chosen)),
        sizes=pd.DataFrame({"size": name} | pair.iou(chosen, size) for name, size in SIZES.items()),
        category_ap=_sorted(pd.DataFrame({"category": names[c]} | pair.ap([c]) for c in chosen)),
        category_iou=_sorted(pd.DataFrame({"category": names[c]} | pair.iou([c]) for c in chosen)),
        images=_sorted(_images(pair, chosen)),
    )


def _common_seeds(folder: Path, a: str, b: str) -> tuple[int, ...]:
    """Those that both runs have finished."""
    finished = {run: finished_seeds(folder, run) for run in (a, b)}
    common = tuple(sorted({*finished[a]} & {*finished[b]}))
    if not common:
        raise MeasurementError(f"{a} has finished seeds {finished[a]}, {b} {finished[b]}: none in common")
    return common


def _notes(scale: dict[str, Any], val: Val, seeds: Sequence[int], resamples: int) -> Iterator[str]:
    several = len(seeds) > 1
    yield f"scale {scale['name']}, data {val.name}, seed{'s' * several} {', '.join(map(str, seeds))}"
    yield scale["note"]
    what = f"images and of the {len(seeds)} seeds" if several else "images"
    alone = "" if several else " One seed: the interval does not hold what another seed would change."
    yield (
        f"Gain is B - A with its {bootstrap.LEVEL:.0%} percentile interval from {resamples} paired bootstrap resamples"
        f" (seed {bootstrap.SEED}) of the {len(val.images)} val {what}.{alone} Values times 100."
    )


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

    def ap(self, categories: Sequence[int], metric: str = "AP", kind: Any = "segm") -> dict[str, float]:
        """The gain in AP over `categories`."""
        size = SIZES.get(SIZE_OF.get(metric, ""), EVERY)
        return self._gain(categories, lambda r: r.average_precision(categories, self.weights, metric, kind), size)

    def iou(self, categories: Sequence[int], size: Size = EVERY) -> dict[str, float]:
        """The gain in mean mask IoU in ground-truth boxes of `categories`."""
        return self._gain(categories, lambda r: r.mean_iou(categories, self.weights, size), size)

    def _gain(self, categories: Sequence[int], read: Callable[[Measurements], Floats], size: Size) -> dict[str, float]:
        a, b = (np.stack([read(measurements) for measurements in side]) for side in (self.a, self.b))
        found = bootstrap.interval(bootstrap.over_seeds(b - a))
        return {
            "objects": int(self.a[0].iou_by_image(categories, size)[1].sum()),
            "A": a[:, 0].mean(),
            "B": b[:, 0].mean(),
            "gain": found.value if found else math.nan,
            "low": found.low if found else math.nan,
            "high": found.high if found else math.nan,
        }


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


def _metrics(pair: Pair, chosen: Sequence[int]) -> Iterator[dict[str, Any]]:
    for metric in METRICS:
        yield {"metric": f"mask {metric}"} | pair.ap(chosen, metric)
    yield {"metric": "box AP"} | pair.ap(chosen, "AP", "bbox")
    yield {"metric": "mask IoU in true boxes"} | pair.iou(chosen)


def _images(pair: Pair, chosen: Sequence[int]) -> pd.DataFrame:
    (a, objects), (b, _) = (np.mean([r.iou_by_image(chosen) for r in side], axis=0) for side in (pair.a, pair.b))
    truth, ids = pair.a[0].val.truth, list(pair.a[0].val.images)
    frame = pd.DataFrame({"image": ids, "file": [truth.imgs[id]["file_name"] for id in ids]})
    frame = frame.assign(objects=objects.astype(int), A=a, B=b)[objects > 0]
    frame[["A", "B"]] = frame[["A", "B"]].div(frame["objects"], axis=0)
    return frame.assign(gain=frame["B"] - frame["A"])


def _sorted(gains: pd.DataFrame) -> pd.DataFrame:
    """Largest gain first, equals by name; categories without objects last."""
    return gains.sort_values(["gain", gains.columns[0]], ascending=[False, True])


def _config(seeds: Sequence[Measurements]) -> dict[str, Any]:
    """The resolved configuration that all seeds of a run were measured with."""
    file = seeds[0].folder / runfile.NAME
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        config = runfile.resolved(content)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        run = file.parents[1].name
        raise MeasurementError(
            f"{file} cannot be read: {error}; `contrastmask configure {run}` writes it anew"
        ) from None
    if {seed.metrics.get("config_hash") for seed in seeds} - {None, config_hash(config)}:
        raise MeasurementError(
            f"{file} and metrics.json of its seeds ({', '.join(seed.folder.name for seed in seeds)}) are of different "
            "configurations: let Snakemake make the run again"
        )
    return config


def differences(a: dict[str, Any], b: dict[str, Any]) -> pd.DataFrame:
    """The keys, dotted, whose values differ between two resolved configurations, in `a`'s order.

    Top-level `options` is left out: it says what a row changed, and model.roi_head.options holds every option.
    """
    left, right = ({k: v for k, v in _flat(c) if k.split(".")[0] != "options"} for c in (a, b))
    keys = [key for key in {**left, **right} if left.get(key, ABSENT) != right.get(key, ABSENT)]
    lines = [[key, *(json.dumps(side[key]) if key in side else NOTHING for side in (left, right))] for key in keys]
    return pd.DataFrame(lines, columns=["key", "A", "B"])


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key; a list is a leaf."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
