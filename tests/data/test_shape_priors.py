"""Shape priors: which masks are used, k-means on shapes that are far apart, and what is refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from contrastmask.data.masks import box_polygon, run_lengths
from contrastmask.data.shape_priors import SIZE, base_shapes, cluster, read_priors, write_priors
from contrastmask.errors import DataError

HEIGHT, WIDTH = 120, 160
BASE, NOVEL = 2, 1


def triangle(x: int, y: int, side: int) -> np.ndarray:
    """(HEIGHT, WIDTH) bool: the lower left half of a square."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + side, x : x + side] = np.tri(side, dtype=bool)
    return mask


def coco(*segmentations: Any, **changes: Any) -> dict[str, Any]:
    """Annotations of the base category in one image."""
    annotations = [
        {"id": n, "image_id": 7, "category_id": BASE, "iscrowd": 0, "segmentation": s} | changes
        for n, s in enumerate(segmentations)
    ]
    return {"images": [{"id": 7, "height": HEIGHT, "width": WIDTH}], "annotations": annotations}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def write(folder: Path, content: dict[str, Any]) -> tuple[Path, Path]:
    annotations, split = folder / "instances_train.json", folder / "split.json"
    annotations.write_text(json.dumps(content))
    split.write_text(json.dumps({"setting": "a2b", "base": [BASE], "novel": [NOVEL], "digest": "d"}))
    return annotations, split


# ---------------------------------------------------------------------------- masks


@pytest.mark.parametrize("encode", [run_lengths, compressed])
def test_a_mask_is_cropped_to_its_tight_box_and_resized(encode: Any) -> None:
    shapes = base_shapes(coco(encode(triangle(20, 30, 64))), {BASE}, 1024)
    expected = cv2.resize(255 * np.tri(64, dtype=np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert shapes.shape == (1, SIZE * SIZE)
    assert np.array_equal(shapes[0].reshape(SIZE, SIZE), expected)
    assert expected[-1, 0] == 255 and expected[0, -1] == 0


def test_polygons_of_one_object_are_one_mask() -> None:
    left, right = box_polygon([10, 10, 20, 40])[0], box_polygon([50, 10, 20, 40])[0]
    shape = base_shapes(coco([left, right]), {BASE}, 0).reshape(SIZE, SIZE)
    columns = shape.mean(0)
    assert columns[:10].min() == 255 and columns[-10:].min() == 255
    assert columns[12:20].max() == 0


def test_small_masks_crowds_and_novel_objects_are_left_out() -> None:
    square = run_lengths(np.pad(np.ones((32, 32), bool), ((0, HEIGHT - 32), (0, WIDTH - 32))))
    assert len(base_shapes(coco(square), {BASE}, 1023)) == 1
    assert len(base_shapes(coco(square), {BASE}, 1024)) == 0
    assert len(base_shapes(coco(square, iscrowd=1), {BASE}, 0)) == 0
    assert len(base_shapes(coco(square, category_id=NOVEL), {BASE}, 0)) == 0


# ---------------------------------------------------------------------------- k-means


def noisy_shapes(per_shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Four outlines (4, 1024) in {0, 1}, and noisy copies of each (4 per_shape, 1024) uint8 in random order."""
    half, disc = np.zeros((SIZE, SIZE)), np.hypot(*(np.mgrid[:SIZE, :SIZE] - 15.5)) < 12
    half[: SIZE // 2] = 1
    outlines = np.stack([half, half.T, disc, np.tri(SIZE)]).reshape(4, -1)
    rng = np.random.default_rng(0)
    copies = np.repeat(outlines, per_shape, 0)
    noisy = np.where(rng.random(copies.shape) < 0.05, 1 - copies, copies)
    return outlines, rng.permutation(255 * noisy).astype(np.uint8)


def test_k_means_recovers_shapes_that_are_far_apart() -> None:
    outlines, shapes = noisy_shapes(per_shape=60)
    priors, inertia = cluster(shapes, 4)
    distances = np.abs(priors.reshape(4, 1, -1) - outlines).mean(-1)
    assert sorted(distances.argmin(1)) == [0, 1, 2, 3]
    assert distances.min(1).max() < 0.08
    assert inertia == pytest.approx(0.05 * 0.95 * SIZE * SIZE, rel=0.1)  # the noise's variance


def test_priors_are_soft_masks_and_the_same_every_time() -> None:
    _, shapes = noisy_shapes(per_shape=30)
    first, second = cluster(shapes, 7), cluster(shapes, 7)
    assert first[0].shape == (7, SIZE, SIZE) and first[0].dtype == np.float32
    assert first[0].min() >= 0 and first[0].max() <= 1
    assert np.array_equal(first[0], second[0]) and first[1] == second[1]


def test_inertia_is_the_mean_squared_distance_to_the_nearest_prior() -> None:
    _, shapes = noisy_shapes(per_shape=20)
    priors, inertia = cluster(shapes, 3)
    squared = ((shapes[:, None] / 255 - priors.reshape(1, 3, -1)) ** 2).sum(-1)
    assert inertia == pytest.approx(squared.min(1).mean(), rel=1e-4)


@pytest.mark.parametrize("number", [2, 5])
def test_with_too_few_distinct_shapes_each_is_a_prior_in_turn(number: int) -> None:
    _, shapes = noisy_shapes(per_shape=1)
    shapes = shapes[[0, 1, 0, 1, 1]]
    priors, inertia = cluster(shapes, number)
    assert inertia is None
    assert np.allclose(255 * priors.reshape(number, -1), shapes[[0, 1, 0, 1, 0][:number]])


# ---------------------------------------------------------------------------- files


def test_the_file_and_its_record(tmp_path: Path) -> None:
    content = coco(*(compressed(triangle(0, 0, side)) for side in (50, 71, 100)))
    content["annotations"] += coco(box_polygon([0, 0, 90, 90]), category_id=NOVEL)["annotations"]  # a box, as all novel
    annotations, split = write(tmp_path, content)
    out = tmp_path / "new" / "priors.npz"
    record = write_priors(annotations, split, 2, 1024, out)
    assert read_priors(out).shape == (2, SIZE, SIZE) and read_priors(out).mean() < 0.6  # triangles alone
    assert json.loads((tmp_path / "new" / "priors.json").read_text()) == record
    assert (record["setting"], record["masks"], record["priors"], record["seed"]) == ("a2b", 3, 2, 0)
    assert record == write_priors(annotations, split, 2, 1024, out)
    assert [path.name for path in out.parent.iterdir() if "tmp" in path.name] == []


def test_no_mask_that_is_large_enough_names_the_option(tmp_path: Path) -> None:
    annotations, split = write(tmp_path, coco(compressed(triangle(0, 0, 20))))
    with pytest.raises(DataError, match="prior_min_area") as caught:
        write_priors(annotations, split, 2, 1024, tmp_path / "priors.npz")
    assert str(annotations) in str(caught.value)
    assert not (tmp_path / "priors.npz").exists()


def test_files_that_are_no_priors_are_refused(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npz"
    np.savez(objects, priors=np.array([{}], dtype=object))  # needs a pickle
    other = tmp_path / "other.npz"
    np.savez(other, shapes=np.zeros(3))
    for path in (objects, other, tmp_path / "missing.npz"):
        with pytest.raises(DataError, match=path.name):
            read_priors(path)
