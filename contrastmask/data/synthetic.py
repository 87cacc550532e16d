"""Synthetic COCO-format images: what scale smoke and the tests train on.

An image holds two to four objects on grey ground; they may cover each other and leave the image. Shape, texture and
hue tell the category (`shapes.py`). The annotation is the visible part, and of each object at least half of what lies
in the image is visible, so nothing is drawn that lacks its annotation.

By image number: every 16th image is empty, every 16th holds a crowd (iscrowd=1, RLE), every 8th has tiny objects. Each
image has its own random stream, made of the seed, the part (train or val) and its number: the result depends neither on
the number of workers nor on the set's size.
"""

import colorsys
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from contrastmask.data.masks import bounding_box, polygons, run_lengths
from contrastmask.data.shapes import SHAPES, Look, looks, texture
from contrastmask.runtime.files import write_coco, write_json

MARKER = "generated.json"  # written last: what stands beside it is complete
VERSION = 6  # raise it when the same parameters give other images

EMPTY, CROWD, TINY = 5, 9, 3  # image number modulo 16, 16, 8
SIZES, TINY_SIZES, CROWD_SIZES = (0.22, 0.5), (0.05, 0.09), (0.10, 0.15)  # of an object, in image sides
IN_CROWD = 8  # objects
LEAST, VISIBLE = 8, 0.5  # pixels, and the part of an object, that must be visible
ATTEMPTS = 8  # to find a place for an object
PERIOD = 0.058  # of a texture, in image sides
HUE_SD, NOISE_SD = 4.0, 3.0  # degrees, grey levels
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Parameters:
    """What determines a synthetic data set. Counts are images; `image_size` is the side in pixels."""

    train_images: int
    val_images: int
    image_size: int
    seed: int
    categories: int = 80

    def __post_init__(self) -> None:
        for name, low in (("train_images", 1), ("val_images", 1), ("image_size", 64), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(f"synthetic data: {name} must be a whole number >= {low}, not {value!r}")
        if max(self.train_images, self.val_images) > 1_000_000:
            raise ValueError("synthetic data: at most 1,000,000 images per part")
        looks(self.categories)


def generate(
    root: Path,
    *,
    train_images: int,
    val_images: int,
    image_size: int,
    seed: int,
    categories: int = 80,
    workers: int = 1,
) -> None:
    """Write `root`/{train,val}/*.jpg and `root`/annotations/instances_{train,val}.json.

    Deterministic by its parameters; `workers` (processes) only changes the time. Files of the same names are
    overwritten, others left alone.

    Raises:
        ValueError: a parameter is out of range.
    """
    parameters = Parameters(train_images, val_images, image_size, seed, categories)
    (root / MARKER).unlink(missing_ok=True)
    for part, count in (("train", train_images), ("val", val_images)):
        (root / part).mkdir(parents=True, exist_ok=True)
        draw = partial(_write_image, root / part, part, parameters)
        if workers > 1:
            with ProcessPoolExecutor(workers) as pool:
                drawn = list(pool.map(draw, range(count), chunksize=16))
        else:
            drawn = [draw(index) for index in range(count)]
        images = [image for image, _ in drawn]
        annotations = [annotation for _, found in drawn for annotation in found]
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
        write_coco(
            root / "annotations" / f"instances_{part}.json",
            images,
            annotations,
            [{"id": look.category_id, "name": look.name} for look in looks(categories)],
        )
    write_json(root / MARKER, _marker(parameters))


def is_complete(root: Path, parameters: Parameters) -> bool:
    """Whether `root` holds everything that `generate` writes for these parameters (files only counted)."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    counts = {"train": parameters.train_images, "val": parameters.val_images}
    return marker == _marker(parameters) and all(
        (root / "annotations" / f"instances_{part}.json").is_file()
        and all((root / part / _file_name(part, index)).is_file() for index in range(count))
        for part, count in counts.items()
    )


def _marker(parameters: Parameters) -> dict:
    return {"version": VERSION, **vars(parameters)}


def _file_name(part: str, index: int) -> str:
    return f"{part}-{index:06d}.jpg"


def _write_image(folder: Path, part: str, parameters: Parameters, index: int) -> tuple[dict, list[dict]]:
    """Draw one image into `folder`; returns its COCO image and annotations (ids of the latter come later)."""
    rng = np.random.default_rng(np.random.SeedSequence([parameters.seed, part == "val", index]))
    name, size = _file_name(part, index), parameters.image_size
    pixels, objects = draw_image(rng, index, size, looks(parameters.categories))
    if not cv2.imwrite(str(folder / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"cannot write {folder / name}: is the disk full?")
    image_id = index + 1 + (1_000_000 if part == "val" else 0)  # those of the parts must not meet
    image = {"id": image_id, "file_name": name, "width": size, "height": size}
    return image, [annotation | {"image_id": image_id} for annotation in objects]


def draw_image(
    rng: np.random.Generator, index: int, side: int, choice: tuple[Look, ...]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Image number `index`, (side, side, 3) uint8 BGR, of categories in `choice`, and its objects as COCO has them.

    In float64: processors differ in the last bits of a sum, and those of float32 would reach the pixels.
    """
    canvas, free = _ground(rng, side), np.ones((side, side), dtype=bool)
    objects: list[dict[str, Any]] = []
    for number, (size, copies) in enumerate(_wanted(rng, index)):
        look = choice[rng.integers(len(choice)) if number else index % len(choice)]  # small sets have every category
        for _ in range(ATTEMPTS):
            mask = _mask(rng, look.shape, size * side, copies, side)
            visible = mask & free  # behind what is there already
            if visible.sum() >= max(LEAST, VISIBLE * mask.sum()):
                free &= ~visible
                canvas[visible] = _dressed(rng, look, side)[visible]
                objects.append(_annotation(look, visible, crowd=copies > 1))
                break
    noisy = canvas + rng.normal(0, NOISE_SD, canvas.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), objects


def _wanted(rng: np.random.Generator, index: int) -> list[tuple[float, int]]:
    """Of each object of an image, from front to back: its size in image sides, and how often it is there."""
    if index % 16 == EMPTY:
        return []
    tiny = [(rng.uniform(*TINY_SIZES), 1) for _ in range(2 if index % 8 == TINY else 0)]
    crowd = [(rng.uniform(*CROWD_SIZES), IN_CROWD)] if index % 16 == CROWD else []
    return [*tiny, *crowd, *((rng.uniform(*SIZES), 1) for _ in range(rng.integers(2, 5)))]


def _mask(rng: np.random.Generator, shape: str, size: float, copies: int, side: int) -> np.ndarray:
    """Where (side, side) a shape of `size` pixels lies, slightly turned, maybe mirrored; copies beside each other."""
    middle = rng.uniform(0.1, 0.9, 2) * side
    mask = np.zeros((side, side), dtype=np.uint8)
    for _ in range(copies):
        turn, mirror = np.deg2rad(rng.uniform(-20, 20)), rng.choice([-1.0, 1.0])
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        center = middle + rng.uniform(-0.2, 0.2, 2) * side * (copies > 1)
        paths = [(path * (mirror, 1)) @ rotation * size / 2 + center for path in SHAPES[shape]]
        copy = np.zeros_like(mask)  # OpenCV counts from the middle of a pixel, with 4 fractional bits
        cv2.fillPoly(copy, [np.rint((path - 0.5) * 16).astype(np.int32) for path in paths], 1, shift=4)
        mask |= copy
    return mask.astype(bool)


def _annotation(look: Look, visible: np.ndarray, crowd: bool) -> dict[str, Any]:
    """The COCO annotation of what is visible of an object; the ids are set later."""
    return {
        "id": 0,
        "image_id": 0,
        "category_id": look.category_id,
        "bbox": bounding_box(visible),
        "area": int(visible.sum()),
        "iscrowd": int(crowd),
        "segmentation": run_lengths(visible) if crowd else polygons(visible),
    }


def _dressed(rng: np.random.Generator, look: Look, side: int) -> np.ndarray:
    """The texture (side, side, 3) of an object: a light and a dark phase of the same hue."""
    hue = (look.hue + rng.normal(0, HUE_SD)) / 360
    x, y = (np.arange(side) / (PERIOD * side) + rng.random() for _ in range(2))
    light = texture(look.texture, x[None, :], y[:, None])[..., None]
    return light * _bgr(hue, 0.5, 0.95) + (1 - light) * _bgr(hue, 0.95, 0.5)


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3): from one greyish colour to another."""
    first, last = (_bgr(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.35, 0.8)) for _ in range(2))
    ramp = np.linspace(0, 1, side)
    return first + (last - first) * ((ramp[:, None] + ramp[None, :]) / 2)[..., None]


def _bgr(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) BGR in 0..255; hue in turns."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)[::-1]) * 255
