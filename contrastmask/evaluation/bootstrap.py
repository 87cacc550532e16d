"""Bootstrap over images and seeds: of COCO's AP without running COCOeval again, and of mean mask IoU.

COCOeval matches detections image by image; only its accumulation sees all images. A resample of the images is therefore
a weight for each image (how often it was drawn), and AP under any weights comes from the matches made once. All
resamples are computed together. Two runs under the same weights are a paired comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECALLS = np.linspace(0.0, 1.0, 101)  # COCOeval's recall points
IOUS = np.linspace(0.5, 0.95, 10)
LEVEL = 0.95
RESAMPLES = 1000
SEED = 0
_CELLS = 1 << 22  # numbers held at once

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The matched detections of one category in one area range, over all images, by falling score.

    Shapes: D detections, T IoU thresholds, N images.
    """

    image: NDArray[np.intp]
    """(D,) position of each detection's image."""
    hit: NDArray[np.bool_]
    """(T, D) matched to an object that counts."""
    counted: NDArray[np.bool_]
    """(T, D) hit or false alarm: neither matched to an object that does not count nor outside the area range."""
    truths: NDArray[np.int64]
    """(N,) objects that count in each image."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the LEVEL percentile interval of its resamples."""

    value: float
    low: float
    high: float


def image_weights(n_images: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """(resamples + 1, n_images): row 0 is the data as it is, each other row n_images draws with replacement."""
    drawn = np.random.default_rng(seed).multinomial(n_images, np.full(n_images, 1 / n_images), size=resamples)
    return np.concatenate([np.ones((1, n_images)), drawn])


def rankings(evaluation: Any) -> list[list[Ranking]]:
    """What COCOeval matched, as [category][area range], in the order of its params.

    Args:
        evaluation: pycocotools' COCOeval after `evaluate()`.
    """
    params = evaluation.params
    n_images, n_areas = len(params.imgIds), len(params.areaRng)
    starts = range(0, len(params.catIds) * n_areas * n_images, n_images)
    flat = [_ranking(evaluation.evalImgs[start : start + n_images], params.maxDets[-1]) for start in starts]
    return [flat[start : start + n_areas] for start in range(0, len(flat), n_areas)]


def _ranking(images: Sequence[dict[str, Any] | None], most: int) -> Ranking:
    """COCOeval.accumulate up to the sort; None stands for an image without objects and detections of the category."""
    truths = np.array([0 if e is None else np.count_nonzero(np.asarray(e["gtIgnore"]) == 0) for e in images], np.int64)
    found = [(i, e) for i, e in enumerate(images) if e is not None and len(e["dtScores"])]
    if not found:
        nothing = np.zeros((len(IOUS), 0), bool)
        return Ranking(np.zeros(0, np.intp), nothing, nothing, truths)
    scores = np.concatenate([np.asarray(e["dtScores"][:most], float) for _, e in found])
    image = np.concatenate([np.full(len(e["dtScores"][:most]), i, np.intp) for i, e in found])
    matched = np.concatenate([e["dtMatches"][:, :most] for _, e in found], axis=1) != 0
    counted = np.concatenate([e["dtIgnore"][:, :most] for _, e in found], axis=1) == 0
    order = np.argsort(-scores, kind="mergesort")
    return Ranking(image[order], (matched & counted)[:, order], counted[:, order], truths)


def average_precision(ranking: Ranking, weights: Floats) -> Floats:
    """AP (B, T) under each of B weightings of the images; NaN where a weighting holds no object.

    Equals COCOeval on a data set in which image i stands `weights[b, i]` times: copies of a detection follow each other
    in the order of scores, and neither the precision envelope nor the first detection that reaches a recall point
    sees a difference between copies one by one and all at once. (Equal scores within an image aside, whose order among
    copies is arbitrary.)
    """
    n_objects = weights @ ranking.truths
    result = np.full((len(weights), len(ranking.hit)), np.nan)
    step = max(1, _CELLS // max(1, len(ranking.image)))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        result[part] = _average_precision(ranking, weights[part][:, ranking.image], n_objects[part])
    return result


def _average_precision(ranking: Ranking, weights: Floats, n_objects: Floats) -> Floats:
    """`average_precision` with weights (B, D) of the detections and the number of objects (B,)."""
    result = np.zeros((len(weights), len(ranking.hit)))
    patterns, which = np.unique(ranking.counted, axis=0, return_inverse=True)
    for pattern, counted in enumerate(patterns):
        seen = np.cumsum(weights * counted, axis=1)
        for threshold in np.flatnonzero(which.reshape(-1) == pattern):
            hits = np.flatnonzero(ranking.hit[threshold])  # recall rises and precision peaks only there
            true = np.cumsum(weights[:, hits], axis=1)
            precision = true / (seen[:, hits] + np.spacing(1))
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = true / np.maximum(n_objects, 1)[:, None]
            reached = np.searchsorted(RECALLS, recall, side="right")  # recall points at or below each recall
            result[:, threshold] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    result[n_objects == 0] = np.nan
    return result


def mean_measured(values: Floats, axes: tuple[int, ...]) -> Floats:
    """Mean over `axes` of what is not NaN, NaN where nothing is: COCOeval's mean of the entries that are not -1."""
    measured = ~np.isnan(values)
    count = measured.sum(axis=axes)
    total = np.where(measured, values, 0).sum(axis=axes)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def weighted_mean(sums: Floats, counts: Floats, weights: Floats) -> Floats:
    """(B,) mean of items that lie in images, under B weightings; NaN where a weighting holds none.

    Args:
        sums: (N,) sum of the items' values in each image.
        counts: (N,) number of items in each image.
        weights: (B, N).
    """
    count = weights @ counts
    return np.where(count > 0, (weights @ sums) / np.maximum(count, 1), np.nan)


def over_seeds(values: Floats, seed: int = SEED) -> Floats:
    """(B,) mean over S seeds of values (S, B) under B weightings of the images, row 0 the data as it is.

    Each further weighting draws S seeds with replacement. With few seeds that spreads too little: the variance of a
    bootstrap mean is (S - 1) / S of the unbiased one; deviations from the mean are stretched by sqrt(S / (S - 1))
    (Rao & Wu 1988, rescaling bootstrap). One seed says nothing about seeds: the interval is then over images alone.
    """
    n_seeds, n = values.shape
    mean = values.mean(axis=0)
    if n_seeds == 1:
        return mean
    drawn = np.random.default_rng((seed, n_seeds)).integers(0, n_seeds, (n_seeds, n))
    drawn[:, 0] = np.arange(n_seeds)
    resampled = np.take_along_axis(values, drawn, axis=0).mean(axis=0)
    return mean + np.sqrt(n_seeds / (n_seeds - 1)) * (resampled - mean)


def interval(values: Floats) -> Interval | None:
    """Row 0's value with the percentile interval of the others; None if there is nothing to measure.

    Resamples that hold no object are left out.
    """
    resampled = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(resampled):
        return None
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(values[0]), float(low), float(high))
