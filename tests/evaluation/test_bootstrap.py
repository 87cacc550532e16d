"""AP under resampled images against pycocotools and against COCOeval on a data set with the images copied."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from contrastmask.evaluation import bootstrap

N_IMAGES, CATEGORIES = 7, (1, 2, 3)


def boxes(rng: np.random.Generator, n: int) -> list[list[float]]:
    """n boxes [x, y, w, h] of all three of COCO's sizes."""
    return [[*rng.uniform(0, 60, 2), *rng.uniform(5, 130, 2)] for _ in range(n)]


def scene(seed: int, levels: int = 4) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth with crowds and images without objects; detections near it, with false alarms.

    Scores are of `levels` levels, so that few levels make ties within and between images.
    """
    rng = np.random.default_rng(seed)
    images = [{"id": 10 + i, "width": 200, "height": 200} for i in range(N_IMAGES)]
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    scores = rng.permutation(levels) / levels
    for image in images[1:]:
        for box in boxes(rng, int(rng.integers(0, 6))):
            category = int(rng.choice(CATEGORIES[:2]))  # none of the third
            common = {"image_id": image["id"], "category_id": category}
            annotation = {"id": len(annotations) + 1, "bbox": box, "area": box[2] * box[3]}
            annotations.append(common | annotation | {"iscrowd": int(rng.uniform() < 0.15)})
            for _ in range(int(rng.integers(0, 3))):
                near = [value + float(rng.normal(0, 4)) for value in box[:2]] + box[2:]
                detections.append(common | {"bbox": near, "score": float(rng.choice(scores))})
        for box in boxes(rng, 3):
            alarm = {"image_id": image["id"], "category_id": int(rng.choice(CATEGORIES)), "bbox": box}
            detections.append(alarm | {"score": float(rng.choice(scores))})
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in CATEGORIES],
    }
    return truth, detections


def repeated(truth: dict, detections: list[dict], times: np.ndarray) -> tuple[dict, list[dict]]:
    """The naive resample: image i, its objects and its detections stand times[i] times, copies side by side."""
    new: dict[str, Any] = {"images": [], "annotations": [], "categories": truth["categories"]}
    found = []
    for image, count in zip(truth["images"], times, strict=True):
        for _ in range(int(count)):
            id = len(new["images"]) + 1
            new["images"].append(image | {"id": id})
            for a in truth["annotations"]:
                if a["image_id"] == image["id"]:
                    new["annotations"].append(a | {"image_id": id, "id": len(new["annotations"]) + 1})
            found += [d | {"image_id": id} for d in detections if d["image_id"] == image["id"]]
    return new, found


def evaluated(truth: dict, detections: list[dict], most: int = 100) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(detections)), "bbox")
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def by_pycocotools(truth: dict, detections: list[dict]) -> np.ndarray:
    """AP [category, area, IoU]; NaN where COCOeval says -1."""
    precision = evaluated(truth, detections).eval["precision"][..., 0]  # [IoU, recall, category, area]
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1)).transpose(1, 2, 0)


def by_stats(truth: dict, detections: list[dict], weights: np.ndarray) -> np.ndarray:
    """AP [weighting, category, area, IoU]."""
    table = bootstrap.rankings(evaluated(truth, detections))
    return np.stack([np.stack([bootstrap.average_precision(c, weights) for c in row], 1) for row in table], 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_data_as_it_is_gives_what_pycocotools_gives(seed: int) -> None:
    truth, detections = scene(seed)
    ours = by_stats(truth, detections, np.ones((1, N_IMAGES)))[0]
    np.testing.assert_allclose(ours, by_pycocotools(truth, detections), atol=1e-12)
    assert np.isnan(ours[2]).all() and not np.isnan(ours[0, 0]).any()  # a category without objects, one with


@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=N_IMAGES, max_size=N_IMAGES))
def test_weights_are_copies_of_images(seed: int, times: list[int]) -> None:
    truth, detections = scene(seed, levels=1 << 20)  # without ties, whose order depends on how copies are laid out
    copies = repeated(truth, detections, np.array(times))
    if not copies[1]:
        return  # pycocotools cannot load no detections at all
    ours = by_stats(truth, detections, np.array([times], float))[0]
    np.testing.assert_allclose(ours, by_pycocotools(*copies), atol=1e-12)


def test_many_weightings_at_once_are_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, detections = scene(3)
    weights = bootstrap.image_weights(N_IMAGES, resamples=9)
    monkeypatch.setattr(bootstrap, "_CELLS", 40)  # forces several parts
    together = by_stats(truth, detections, weights)
    np.testing.assert_array_equal(together, np.concatenate([by_stats(truth, detections, w[None]) for w in weights]))


def test_detections_beyond_the_limit_do_not_count() -> None:
    evaluation = evaluated(*scene(1), most=1)
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]
    ours = bootstrap.average_precision(bootstrap.rankings(evaluation)[0][0], np.ones((1, N_IMAGES)))[0]
    np.testing.assert_allclose(ours, precision.mean(axis=1), atol=1e-12)


def test_image_weights() -> None:
    weights = bootstrap.image_weights(5, resamples=200, seed=1)
    assert weights.shape == (201, 5) and (weights[0] == 1).all() and (weights.sum(axis=1) == 5).all()
    np.testing.assert_array_equal(weights, bootstrap.image_weights(5, resamples=200, seed=1))
    assert not np.array_equal(weights, bootstrap.image_weights(5, resamples=200, seed=2))


def test_mean_measured_leaves_out_what_was_not() -> None:
    values = np.array([[[1.0, np.nan], [3.0, np.nan]], [[np.nan, np.nan], [np.nan, np.nan]]])
    np.testing.assert_array_equal(bootstrap.mean_measured(values, (1, 2)), [2.0, np.nan])


def test_weighted_mean_is_over_items() -> None:
    sums, counts = np.array([1.0, 0.0, 0.4]), np.array([2.0, 0.0, 1.0])
    weights = np.array([[1, 1, 1], [0, 5, 2], [0, 3, 0]], float)
    np.testing.assert_allclose(bootstrap.weighted_mean(sums, counts, weights), [1.4 / 3, 0.4, np.nan])


def test_the_spread_over_seeds_is_that_of_a_mean_over_seeds() -> None:
    values = np.tile(np.array([[0.1], [0.25], [0.3]]), (1, 40_001))
    means = bootstrap.over_seeds(values)
    assert means[0] == pytest.approx(values[:, 0].mean())
    assert means[1:].mean() == pytest.approx(means[0], abs=1e-3)
    assert means[1:].var() == pytest.approx(values[:, 0].var(ddof=1) / 3, rel=0.03)


def test_one_seed_is_left_as_it_is() -> None:
    values = np.random.default_rng(0).uniform(size=(1, 6))
    np.testing.assert_array_equal(bootstrap.over_seeds(values), values[0])


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    """400 images of one item each: mean ± 1.96 s / sqrt(n)."""
    items = np.random.default_rng(0).normal(0.3, 0.1, 400)
    found = bootstrap.interval(bootstrap.weighted_mean(items, np.ones(400), bootstrap.image_weights(400, 4000)))
    assert found is not None and found.value == pytest.approx(items.mean())
    half = 1.96 * items.std() / 20
    assert (found.value - found.low, found.high - found.value) == (pytest.approx(half, rel=0.08),) * 2


def test_nothing_to_measure_has_no_interval() -> None:
    assert bootstrap.interval(np.array([np.nan, 1.0])) is None
    assert bootstrap.interval(np.array([1.0, np.nan])) is None
    assert bootstrap.interval(np.array([1.0, np.nan, 2.0])) == bootstrap.Interval(1.0, 2.0, 2.0)
