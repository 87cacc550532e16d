"""Synthetic COCO-format images on which a class helps to find an object's mask.

An image holds about three textured objects before untextured clutter of random hue. Objects stand near and
inside each other, whatever their split: in about 38 % of the boxes more than 5 % of the area belongs to
objects of the other split. So a box alone does not tell its object, and training on base masks alone teaches
that novel objects are background. What a category looks like: `shapes.py`.

The annotation is the visible part: later objects cover earlier ones, and an object that would hide more than
half of an earlier one is placed elsewhere or not drawn at all, so nothing visible lacks its annotation.

By image number: every 16th image is empty, every 16th holds a crowd (iscrowd=1, RLE), every 8th has tiny
objects, every 8th one cut by the border. Each image has its own random stream, made of the seed, the part
(train or val) and its number: the result depends neither on the number of workers nor on the set's size.
"""

from __future__ import annotations

import colorsys
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from contrastmask.data.masks import bounding_box, polygons, run_lengths
from contrastmask.data.shapes import SHAPES, Look, looks, outline, texture
from contrastmask.runtime.files import write_coco, write_json

MARKER = "generated.json"  # written last: what stands beside it is complete
VERSION = 5  # raise it when the same parameters give other images

NEAR, NESTED = 0.75, 0.15  # shares of objects placed beside and inside another one
SIZES = (0.22, 0.5)  # sqrt(box area) of an object, in image sizes
NESTED_SIZES = (0.35, 0.55)  # the same in sizes of the host
TINY_SIZES = (0.045, 0.09)
CROWD_SIZES = (0.10, 0.15)
VISIBLE = 0.5  # the part of an object that later ones must leave visible
PERIOD = 0.058  # of a texture, in image sizes
HUE_SD = 4.0  # degrees
JPEG_QUALITY = 95
EMPTY, CROWD, TINY, BORDER = 5, 9, 3, 1  # image number modulo 16, 16, 8, 8


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
    stream = np.random.SeedSequence([parameters.seed, part == "val", index])
    scene = draw_scene(np.random.default_rng(stream), index, parameters.image_size, looks(parameters.categories))
    name, size = _file_name(part, index), parameters.image_size
    if not cv2.imwrite(str(folder / name), scene.pixels(), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"cannot write {folder / name}: is the disk full?")
    # Image ids of the parts must not meet.
    image_id = index + 1 + (1_000_000 if part == "val" else 0)
    image = {"id": image_id, "file_name": name, "width": size, "height": size}
    return image, [_annotation(image_id, item) for item in scene.items]


# ---------------------------------------------------------------------------- a scene


@dataclass
class Item:
    """A drawn object: `visible` (H, W) bool is what later objects left of it, `area` its pixels before them."""

    look: Look
    visible: np.ndarray
    area: int
    crowd: bool
    center: tuple[float, float]
    size: float


@dataclass
class Scene:
    """A canvas (H, W, 3) BGR float in 0..255 and the objects on it, from back to front.

    All in float64: processors differ in the last bits of a sum, and those of float32 would reach the image's pixels.
    """

    canvas: np.ndarray
    rng: np.random.Generator
    items: list[Item] = field(default_factory=list)

    @property
    def side(self) -> int:
        return self.canvas.shape[0]

    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR, with sensor noise."""
        noisy = self.canvas + self.rng.normal(0, 3, self.canvas.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def add(self, look: Look, cover: np.ndarray, center: tuple[float, float], size: float, crowd: bool) -> bool:
        """Draw an object of coverage `cover` (H, W) in [0, 1], unless it would hide too much of another."""
        mask = cover >= 0.5
        if mask.sum() < 8:
            return False
        left = [item.visible & ~mask for item in self.items]
        if any(rest.sum() < VISIBLE * item.area for rest, item in zip(left, self.items, strict=True)):
            return False
        for item, rest in zip(self.items, left, strict=True):
            item.visible = rest
        self.items.append(Item(look, mask, int(mask.sum()), crowd, center, size))
        _paint(self.canvas, cover, _dress(look, cover, center, self.rng))
        return True


def draw_scene(rng: np.random.Generator, index: int, side: int, choice: tuple[Look, ...]) -> Scene:
    """Compose image number `index` of `side` pixels from the categories `choice`."""
    scene = Scene(_background(rng, side), rng)
    if index % 16 == EMPTY:
        return scene
    if index % 16 == CROWD:
        _add_crowd(scene, _pick(rng, choice))
    if index % 8 == BORDER:
        _add_at_border(scene, _pick(rng, choice))
    wanted = len(scene.items) + int(rng.choice([2, 3, 3, 4]))
    for _ in range(24):
        if len(scene.items) >= wanted:
            break
        _add_object(scene, choice)
    if index % 8 == TINY:
        _add_tiny(scene, choice)
    return scene


def _pick(rng: np.random.Generator, choice: tuple[Look, ...]) -> Look:
    """A random look: first its split, half and half, then one of the split's."""
    split = "voc" if rng.random() < 0.5 else "nonvoc"
    of_split = [look for look in choice if look.split == split]
    return of_split[rng.integers(len(of_split))]


def _add_object(scene: Scene, choice: tuple[Look, ...]) -> None:
    """One attempt at an object: beside or inside one that is there, or anywhere."""
    rng, side = scene.rng, scene.side
    hosts = [item for item in scene.items if not item.crowd]
    size = rng.uniform(*SIZES) * side
    kind = rng.random()
    if not hosts or kind >= NEAR + NESTED:
        _try_add(scene, _pick(rng, choice), rng.uniform(0, side, 2), size)
        return
    host = hosts[rng.integers(len(hosts))]
    if kind < NESTED:
        size = rng.uniform(*NESTED_SIZES) * host.size
        distance = rng.uniform(0, 0.25) * host.size
    else:
        distance = rng.uniform(0.8, 1.2) * (host.size + size) / 2
    angle = rng.uniform(0, 2 * np.pi)
    center = np.array(host.center) + distance * np.array([np.cos(angle), np.sin(angle)])
    _try_add(scene, _pick(rng, choice), center, size)


def _try_add(scene: Scene, look: Look, center: np.ndarray, size: float, inside: bool = True) -> bool:
    """Draw `look` with sqrt(box area) `size` px at `center`, moved into the image if it must lie `inside`."""
    paths = _place(scene.rng, look.shape, size)
    if inside:
        extent = np.abs(paths[0]).max(0) + 1.5
        center = np.clip(center, extent, scene.side - extent)
    cover = _rasterise([path + center for path in paths], scene.side)
    return scene.add(look, cover, (float(center[0]), float(center[1])), size, crowd=False)


def _add_at_border(scene: Scene, look: Look) -> None:
    """An object whose centre is just inside the left, top, right or bottom border, which cuts it."""
    size = scene.rng.uniform(0.3, 0.45) * scene.side
    along = scene.rng.uniform(0.3, 0.7) * scene.side
    depth = 0.15 * size
    spots = ((depth, along), (along, depth), (scene.side - depth, along), (along, scene.side - depth))
    _try_add(scene, look, np.array(spots[scene.rng.integers(4)]), size, inside=False)


def _add_tiny(scene: Scene, choice: tuple[Look, ...]) -> None:
    """Two objects of a few pixels, anywhere: also on others."""
    for _ in range(2):
        for _ in range(8):
            size = max(5.0, scene.rng.uniform(*TINY_SIZES) * scene.side)
            if _try_add(scene, _pick(scene.rng, choice), scene.rng.uniform(0, scene.side, 2), size):
                break


def _add_crowd(scene: Scene, look: Look) -> None:
    """A loose group of one category, one annotation for all."""
    rng, side = scene.rng, scene.side
    cover = np.zeros((side, side))
    middle = rng.uniform(0.3, 0.7, 2) * side
    for spot in [(-1, -1), (0, -1.1), (1, -0.9), (-0.9, 0.1), (0.1, 0), (1.1, 0.1), (-0.5, 1), (0.6, 1)]:
        center = middle + (np.array(spot) + rng.uniform(-0.15, 0.15, 2)) * 0.16 * side
        paths = _place(rng, look.shape, rng.uniform(*CROWD_SIZES) * side)
        cover = np.maximum(cover, _rasterise([path + center for path in paths], side))
    scene.add(look, cover, (float(middle[0]), float(middle[1])), 0.4 * side, crowd=True)


def _annotation(image_id: int, item: Item) -> dict:
    """The COCO annotation of an item's visible part; its id is set later."""
    return {
        "id": 0,
        "image_id": image_id,
        "category_id": item.look.category_id,
        "bbox": bounding_box(item.visible),
        "area": int(item.visible.sum()),
        "iscrowd": int(item.crowd),
        "segmentation": run_lengths(item.visible) if item.crowd else polygons(item.visible),
    }


# ---------------------------------------------------------------------------- drawing


def _place(rng: np.random.Generator, shape: str, size: float) -> list[np.ndarray]:
    """Paths (P, 2) of a shape in pixels around its box's centre: slightly turned and stretched, maybe mirrored."""
    turn, stretch = np.deg2rad(rng.uniform(-20, 20)), np.exp(rng.uniform(-0.2, 0.2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    mirror = rng.choice([-1.0, 1.0])
    paths = [(path * (mirror * stretch, 1 / stretch)) @ rotation.T for path in outline(shape)]
    low, high = paths[0].min(0), paths[0].max(0)
    scale = size / np.sqrt(np.prod(high - low))
    return [(path - (low + high) / 2) * scale for path in paths]


def _rasterise(paths: list[np.ndarray], side: int) -> np.ndarray:
    """Coverage (H, W) in [0, 1] of closed paths in pixels (even-odd rule), antialiased."""
    cover = np.zeros((side, side), np.uint8)
    # Pixel centres are at half numbers here, at whole ones for OpenCV; 4 fractional bits.
    points = [np.rint((path - 0.5) * 16).astype(np.int32) for path in paths]
    cv2.fillPoly(cover, points, 255, lineType=cv2.LINE_AA, shift=4)
    return cover / 255


def _paint(canvas: np.ndarray, cover: np.ndarray, color: np.ndarray) -> None:
    """Blend `color`, (3,) or (H, W, 3), over the canvas in place."""
    canvas += cover[..., None] * (color - canvas)


def _dress(look: Look, cover: np.ndarray, center: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """The texture (H, W, 3) of an object: a light and a dark phase of the same hue."""
    side = cover.shape[0]
    hue = (look.hue + rng.normal(0, HUE_SD)) / 360
    period = PERIOD * side * rng.uniform(0.88, 1.12)
    x, y = ((np.arange(side) - offset) / period for offset in center)
    light = texture(look.texture, x[None, :], y[:, None], rng)[..., None]
    value = rng.uniform(0.92, 1.08)
    return light * _bgr(hue, 0.5, min(1.0, 0.95 * value)) + (1 - light) * _bgr(hue, 0.95, 0.5 * value)


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    """(H, W, 3): a greyish gradient under plain shapes of random hue."""
    corners = np.stack([_bgr(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.35, 0.8)) for _ in range(4)])
    canvas = cv2.resize(corners.reshape(2, 2, 3), (side, side), interpolation=cv2.INTER_LINEAR)
    families = SHAPES["voc"] + SHAPES["nonvoc"]
    for _ in range(rng.integers(4, 9)):
        paths = _place(rng, families[rng.integers(len(families))], rng.uniform(0.1, 0.4) * side)
        center = rng.uniform(0, side, 2)
        color = _bgr(rng.random(), rng.uniform(0.35, 0.95), rng.uniform(0.4, 0.95))
        _paint(canvas, _rasterise([path + center for path in paths], side), color)
    return canvas


def _bgr(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) BGR in 0..255; hue in turns."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)[::-1]) * 255
