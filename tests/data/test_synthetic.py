"""The synthetic images and their annotations say the same, and hold what the generator promises."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from contrastmask.data import synthetic
from contrastmask.data.categories import coco_categories
from contrastmask.data.masks import bounding_box, polygons, run_lengths
from contrastmask.data.shapes import SHAPES, looks
from contrastmask.data.synthetic import Parameters, generate, is_complete

SIDE = 128


def decode(segmentation, height=SIDE, width=SIDE) -> np.ndarray:
    """The mask (H, W) bool as mmdet and pycocotools make it of polygons or uncompressed RLE."""
    runs = rle.frPyObjects(segmentation, height, width)
    return rle.decode(rle.merge(runs) if isinstance(segmentation, list) else runs).astype(bool)


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("synthetic")
    generate(root, train_images=256, val_images=32, image_size=SIDE, seed=0, categories=12)
    return root


def load(root: Path, part: str) -> dict:
    return json.loads((root / "annotations" / f"instances_{part}.json").read_text())


@pytest.mark.parametrize("seed", range(6))
def test_any_mask_survives_as_polygons_and_as_rle(seed):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(40, 53)), (0, 0), 0.6 + seed / 3)
    mask = noise > 0  # parts, holes, parts in holes, diagonal contacts
    assert (decode(polygons(mask), 40, 53) == mask).all()
    assert (decode(run_lengths(mask), 40, 53) == mask).all()
    assert bounding_box(mask) == rle.toBbox(rle.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()


@pytest.mark.parametrize("value", [False, True])
def test_uniform_masks_have_valid_runs(value):
    mask = np.full((3, 4), value)
    assert run_lengths(mask)["counts"] == ([0, 12] if value else [12])
    assert (decode(run_lengths(mask), 3, 4) == mask).all()


def test_masks_boxes_and_areas_agree(made):
    for part in ("train", "val"):
        for annotation in load(made, part)["annotations"]:
            mask = decode(annotation["segmentation"])
            assert annotation["area"] == mask.sum() > 0
            assert annotation["bbox"] == bounding_box(mask)


def test_visible_parts_of_an_image_do_not_overlap(made):
    cover: dict[int, np.ndarray] = {}
    for annotation in load(made, "train")["annotations"]:
        image = cover.setdefault(annotation["image_id"], np.zeros((SIDE, SIDE), int))
        image += decode(annotation["segmentation"])
    assert max(image.max() for image in cover.values()) == 1


def test_annotated_pixels_have_the_hue_of_the_category(made):
    hue_of = {look.category_id: look.hue for look in looks(12)}
    coco = load(made, "val")
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    errors = []
    for annotation in coco["annotations"]:
        image = cv2.imread(str(made / "val" / names[annotation["image_id"]]))
        inside = cv2.erode(decode(annotation["segmentation"]).astype(np.uint8), np.ones((3, 3))).astype(bool)
        hues = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[..., 0][inside] * 2.0
        if len(hues) >= 50:
            mean = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(hues)).mean()))
            errors.append(abs((mean - hue_of[annotation["category_id"]] + 180) % 360 - 180))
    assert len(errors) > 50 and np.quantile(errors, 0.95) < 18


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_set_of_32_holds_every_special_case(made, part):
    coco = load(made, part)
    first = {image["id"] for image in coco["images"][:32]}
    annotations = [a for a in coco["annotations"] if a["image_id"] in first]
    assert first - {a["image_id"] for a in annotations}, "an image without objects"
    crowds = [a for a in annotations if a["iscrowd"]]
    assert crowds and all(isinstance(a["segmentation"]["counts"], list) for a in crowds)
    single = [a for a in annotations if not a["iscrowd"]]
    assert any(a["area"] < 60 for a in single), "a tiny one"
    assert any(a["area"] > 32**2 for a in single), "one that COCO does not call small"

    def touches_border(box):
        return box[0] == 0 or box[1] == 0 or box[0] + box[2] == SIDE or box[1] + box[3] == SIDE

    assert any(touches_border(a["bbox"]) for a in single), "one cut by the border"


def test_sizes_and_numbers_are_as_intended(made):
    coco = load(made, "train")
    boxes = np.array([a["bbox"] for a in coco["annotations"] if not a["iscrowd"]])
    sides = np.sqrt(boxes[:, 2] * boxes[:, 3]) / SIDE
    assert 2.5 < len(coco["annotations"]) / len(coco["images"]) < 4
    assert np.mean((sides > 0.15) & (sides < 0.55)) > 0.7


def test_same_seed_same_bytes_whatever_the_workers(tmp_path):
    size = {"train_images": 20, "val_images": 5, "image_size": 96, "seed": 7, "categories": 80}
    generate(tmp_path / "one", **size)
    generate(tmp_path / "two", **size, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_last_bits_of_sums_reach_no_pixel(tmp_path, monkeypatch):
    """Processors round differently; an image that depends on it would be other data on another machine."""
    size = {"train_images": 20, "val_images": 5, "image_size": 96, "seed": 7, "categories": 80}
    generate(tmp_path / "here", **size)
    rng = np.random.default_rng(0)

    def rounded_differently(function):
        def changed(*arguments, **options):
            result = function(*arguments, **options)
            return (result * (1 + 4 * np.finfo(float).eps * rng.standard_normal(result.shape))).astype(result.dtype)

        return changed

    for owner, name in ((synthetic, "texture"), (synthetic, "_bgr")):
        monkeypatch.setattr(owner, name, rounded_differently(getattr(owner, name)))
    generate(tmp_path / "there", **size)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_other_seed_or_part_gives_other_images_and_a_longer_set_the_same(tmp_path):
    for name, seed, count in (("a", 1, 4), ("b", 2, 4), ("long", 1, 8)):
        generate(tmp_path / name, train_images=count, val_images=4, image_size=64, seed=seed)
    a, b, long = (contents(tmp_path / name) for name in ("a", "b", "long"))
    images = [digest for found in (a, b) for name, digest in found.items() if name.endswith(".jpg")]
    assert len(images) == len(set(images)) == 16
    assert all(long[name] == a[name] for name in a if name.endswith(".jpg"))


def test_categories_are_cocos_and_of_both_splits(made, tmp_path):
    assert [c["id"] for c in load(made, "train")["categories"]] == [look.category_id for look in looks(12)]
    assert [(look.category_id, look.name) for look in looks(80)] == [(c.id, c.name) for c in coco_categories()]
    for count, voc in ((2, 1), (3, 1), (12, 6), (40, 20), (60, 20), (80, 20)):
        splits = [look.split for look in looks(count)]
        assert (splits.count("voc"), len(splits)) == (voc, count)
    used = {a["category_id"] for a in load(made, "train")["annotations"]}
    assert used == {look.category_id for look in looks(12)}


def test_shape_texture_and_hue_name_the_class_and_shapes_never_cross_the_splits():
    every = looks(80)
    for one in every:
        alike = [o.hue for o in every if (o.shape, o.texture) == (one.shape, one.texture) and o is not one]
        assert all(abs((hue - one.hue + 180) % 360 - 180) > 60 for hue in alike)
    eight = sorted(look.hue for look in looks(8))
    assert min(np.diff([*eight, eight[0] + 360])) > 30
    voc, nonvoc = ({look.shape for look in every if look.split == split} for split in ("voc", "nonvoc"))
    assert not voc & nonvoc and voc | nonvoc == set(SHAPES)
    assert set(looks(12)) <= set(every), "a category looks the same in a subset"


def test_shapes_are_convex_concave_and_holed():
    fills = [cv2.contourArea(p[0].astype(np.float32)) / cv2.contourArea(cv2.convexHull(p[0].astype(np.float32)))
             for p in SHAPES.values()]  # fmt: skip
    assert min(fills) < 0.66 and max(fills) > 0.95 and any(len(paths) > 1 for paths in SHAPES.values())


def test_completeness_needs_the_marker_and_all_files(tmp_path):
    size = {"train_images": 2, "val_images": 1, "image_size": 64, "seed": 0, "categories": 4}
    parameters = Parameters(**size)
    assert not is_complete(tmp_path, parameters)
    generate(tmp_path, **size)
    assert is_complete(tmp_path, parameters)
    assert not is_complete(tmp_path, Parameters(**{**size, "seed": 1}))
    (tmp_path / "train" / "train-000001.jpg").unlink()
    assert not is_complete(tmp_path, parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_images", 0), ("val_images", -1), ("image_size", 8), ("seed", -1), ("categories", 81), ("seed", "x")],
)
def test_bad_parameters_are_named(tmp_path, name, value):
    size = {"train_images": 2, "val_images": 1, "image_size": 64, "seed": 0, "categories": 4}
    with pytest.raises(ValueError, match=name):
        generate(tmp_path, **{**size, name: value})
