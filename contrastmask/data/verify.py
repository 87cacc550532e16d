"""Checks of a COCO-format data set that run once, before any training.

Problems are what would stop or silently change a training or an evaluation (problems.py has their fixes). Warnings are
counts of what training leaves out by itself and of what was read otherwise than it is written.
"""

import filecmp
import math
import os
import shlex
from collections import Counter
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import Any

from contrastmask.data.boxes import misread_boxes, rectangles
from contrastmask.data.categories import count_masks
from contrastmask.data.file_names import Lost
from contrastmask.data.images import Header, ImageError, Size, inspect
from contrastmask.data.problems import Problems
from contrastmask.runtime.progress import Progress

FIELDS: dict[str, dict[str, Any]] = {
    "images": {"id": (int, str), "file_name": str, "width": (int, NoneType), "height": (int, NoneType)},
    "annotations": {"id": (int, str), "image_id": (int, str), "category_id": (int, str), "bbox": (list, NoneType)},
    "categories": {"id": (int, str), "name": str},
}
WORDS: dict[Any, str] = {  # None: missing, to be found out
    str: "a text",
    (int, str): "a whole number or a text",
    (int, NoneType): "a whole number",
    (list, NoneType): "a list",
}
LIMIT = 1e12  # no coordinate or area is larger; comparing with it also refuses NaN and infinity
THREADS = 16  # for image headers: mostly waiting for the disk
MANY = 1000  # images from which on verification says how far it is


# ---------------------------------------------------------------------------- the file


def check_shape(coco: Any, path: Path, found: Problems) -> bool:
    """Whether `coco` has COCO's lists with their required keys and types; otherwise nothing else can be checked."""
    before = found.counts.total()
    if not isinstance(coco, dict):
        found.add("list", f"{path}: must be a JSON object")
        return False
    for key, fields in FIELDS.items():
        rows = coco.get(key)
        if not isinstance(rows, list):
            found.add("list", f'{path}: "{key}" is missing or not a list; it has {", ".join(map(repr, coco))[:200]}')
            continue
        for position, row in enumerate(rows):
            wrong = _wrong_field(row, fields)
            if wrong:
                found.add("field", f"{path}: {key}[{position}]: {wrong}")
    return found.counts.total() == before


def _wrong_field(row: Any, fields: dict[str, Any]) -> str | None:
    if not isinstance(row, dict):
        return "must be a JSON object"
    for name, kind in fields.items():
        if not isinstance(row.get(name), kind) or isinstance(row.get(name), bool):
            return f'"{name}" must be {WORDS[kind]}, not {row.get(name)!r:.60}'
    return None


def check_lists(coco: dict, path: Path, found: Problems) -> None:
    """Whether ids and names are unique within the file, and there is something of each list."""
    for key, field in (
        *(("images", "id"), ("images", "file_name"), ("annotations", "id")),
        *(("categories", "id"), ("categories", "name")),
    ):
        for value, count in Counter(row[field] for row in coco[key]).items():
            if count > 1:
                kind = "listed" if field == "file_name" else "twice"
                found.add(kind, f"{path}: {key}: {field} {value!r} occurs {count} times")
    ids = {row["id"] for row in coco["annotations"]}
    texts = {id for id in ids if isinstance(id, str)}
    for text in sorted(texts & set(map(str, ids - texts))) if texts else ():
        found.add("twice", f"{path}: annotations: id {text!r} is there as a number and as a text, alike in a csv")
    for key in FIELDS:
        if not coco[key]:
            found.add("empty", f"{path}: holds no {key}")


def check_parts(train: dict, val: dict, paths: tuple[Path, Path], found: Problems) -> None:
    """Whether train lists the categories of val's objects by name; ids and order may differ, and val may list fewer."""
    listed = {category["name"] for category in train["categories"]}
    used = {annotation["category_id"] for annotation in val["annotations"]}
    for category in val["categories"]:
        if category["id"] in used and category["name"] not in listed:
            found.add("categories", f"{paths[0]}: lacks {category['name']!r}, a category of objects of {paths[1].name}")


def check_named(train: dict, boxes_only: Iterable[str], found: Problems) -> None:
    """Whether the categories that a person names are in the training file."""
    names = {category["name"] for category in train["categories"]}
    for name in sorted(set(boxes_only) - names):
        found.add("named", f"{name!r} is none of {', '.join(sorted(names)):.200}")


def check_shared(train: dict, val: dict, folders: tuple[Path, Path], found: Problems) -> None:
    """Whether an image of val is one of train, however its path is written, or a copy of the same name.

    Names alone may be alike, since parts may number their images alike.
    """
    mine, others = (
        {os.path.normpath(folder / image["file_name"]) for image in coco["images"]}
        for coco, folder in zip((train, val), folders, strict=True)
    )
    for path in sorted(filter(os.path.isfile, mine & others)):
        found.add("shared", path)
    for name in sorted({i["file_name"] for i in train["images"]} & {i["file_name"] for i in val["images"]}):
        image, copy = (folder / name for folder in folders)
        if image != copy and image.is_file() and copy.is_file() and filecmp.cmp(image, copy, shallow=False):
            found.add("shared", f"{image} and its copy {copy}")


# ---------------------------------------------------------------------------- annotations


def check_annotations(coco: dict, path: Path, found: Problems, need_masks: bool, measured: bool) -> None:
    """References, boxes and segmentations of a file that passed `check_shape`.

    `need_masks`: an object without a segmentation is a problem (evaluation measures masks) instead of a warning.
    `measured`: of val, whose masks evaluation reads whole. Nothing is said of annotations on an image without a size,
    which `check_images` could not read.
    """
    sizes = {image["id"]: _recorded(image) for image in coco["images"]}
    categories = {category["id"] for category in coco["categories"]}
    right = []
    for annotation in coco["annotations"]:
        wrong = _wrong_reference(annotation, sizes, categories)
        if not wrong and annotation["iscrowd"] not in (0, 1):
            wrong = "crowd", f"iscrowd is {annotation['iscrowd']!r:.60}"
        if not wrong and (size := sizes[annotation["image_id"]]):
            wrong = _wrong_box(annotation, size, found) or _wrong_mask(annotation, size, found, need_masks, measured)
        if wrong:
            kind, text = wrong
            found.add(kind, f"{path}: annotation {annotation['id']}: {text}")
        else:
            right.append(annotation)
    if misread := misread_boxes(right, sizes):
        found.add("boxes", f"{path}: {misread}")
    if counts := rectangles(right):
        names = [category["name"] for category in coco["categories"] if category["id"] in counts]
        options = " ".join(f"--boxes-only {shlex.quote(name)}" for name in names)
        text = (
            f"masks are only the rectangles of their boxes, all of {', '.join(names)}; if a tool drew boxes so, say it"
        )
        found.warn(f"{text}: `contrastmask init FOLDER {options}`", counts.total())
    if measured and not need_masks:
        _check_measurable(coco, path, found)


Wrong = tuple[str, str] | None
"""A kind of problem, and the text of the example."""


def check_references(coco: dict, path: Path, found: Problems) -> None:
    """Whether annotations are of images and categories that the file lists; part of `check_annotations`."""
    images, categories = ({row["id"] for row in coco[key]} for key in ("images", "categories"))
    for annotation in coco["annotations"]:
        if wrong := _wrong_reference(annotation, images, categories):
            found.add(wrong[0], f"{path}: annotation {annotation['id']}: {wrong[1]}")


def _wrong_reference(annotation: dict, images: Container, categories: set) -> Wrong:
    if annotation["image_id"] not in images:
        return "image_id", f'image_id {annotation["image_id"]!r} is not in "images"'
    if annotation["category_id"] not in categories:
        return "category_id", f'category_id {annotation["category_id"]!r} is not in "categories"'
    return None


def _wrong_box(annotation: dict, size: Size, found: Problems) -> Wrong:
    """Problem of a box [x, y, w, h]; counts those that mmdet leaves out (`CocoDataset.parse_data_info`)."""
    box, area = annotation.get("bbox") or [], annotation.get("area")
    width, height = size
    numbers = [*box, 1 if area is None else area]
    if len(box) != 4 or not all(isinstance(v, (int, float)) and -LIMIT < v < LIMIT for v in numbers):
        return "bbox", f"bbox {box!r:.80}, area {area!r:.20}"
    x, y, w, h = box
    if w < 0 or h < 0 or numbers[-1] < 0:
        return "negative", f"bbox {box}, area {area}"
    if w < 1 or h < 1 or area == 0:
        found.warn("boxes thinner than 1 px or of area 0, which training leaves out")
    elif min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        return "outside", f"bbox {box} in an image of {width}x{height}"
    elif x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        found.warn("boxes that leave their image by more than 1 px")
    return None


def _wrong_mask(annotation: dict, size: Size, found: Problems, needed: bool, measured: bool) -> Wrong:
    """Problem of a segmentation: absent (allowed unless `needed`), polygons, or RLE of the image's size.

    pycocotools checks nothing: a run length below zero or a point far away makes it crash or take all memory.
    """
    mask = annotation.get("segmentation")
    if not mask:
        if needed:
            return "maskless", "has no segmentation"
        found.warn("annotations without a segmentation (box only)")
        return None
    if isinstance(mask, dict):
        text = _wrong_rle(mask, size)
        return ("rle", text) if text else None
    if not isinstance(mask, list):
        return "mask", f"segmentation {mask!r:.60}"
    strange = [part for part in mask if not _are_coordinates(part)]
    if strange:
        return "mask", f"its segmentation holds {strange[0]!r:.60}, which is no list of coordinates"
    valid = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    far = max(size)
    if any(min(polygon) < -far or max(polygon) > 2 * far for polygon in valid):
        return "far", f"the image is {size[0]}x{size[1]}"
    if not valid:
        return "points", f"segmentation {mask!r:.60}"
    if len(valid) < len(mask) and measured:
        return "polygon", f"segmentation {mask!r:.60}"
    if len(valid) < len(mask):
        found.warn("annotations with an invalid polygon beside valid ones, which training leaves out")
    return None


def _are_coordinates(part: Any) -> bool:
    """A list of finite numbers (`sum` is the fast way over COCO's 40 million)."""
    try:
        return isinstance(part, list) and math.isfinite(sum(part))
    except (TypeError, OverflowError):
        return False


def _wrong_rle(mask: dict, size: tuple[int, int]) -> str | None:
    counts, shape = mask.get("counts"), mask.get("size")
    if shape != [size[1], size[0]]:
        return f"RLE size {shape!r:.60} is not [height, width] of its image, {[size[1], size[0]]}"
    if not isinstance(counts, (list, str)) or not counts:
        return "RLE counts must be a list of run lengths or COCO's compressed text"
    if isinstance(counts, str):
        try:
            counts = _uncompressed(counts)
        except ValueError as error:
            return f"RLE counts: {error}"
    if not all(type(count) is int and count >= 0 for count in counts):
        return "RLE counts must be whole numbers, none of them negative"
    if sum(counts) != size[0] * size[1]:
        return f"RLE counts sum to {sum(counts)}, not to the image's {size[0] * size[1]} pixels"
    return None


def _uncompressed(text: str) -> list[int]:
    """The run lengths behind COCO's compressed text: five bits a character, differences to the last but one.

    Raises:
        ValueError: a character that does not belong there, or the text is cut.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is no character of COCO's compressed text")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the text is cut short")
    return counts


def _check_measurable(coco: dict, path: Path, found: Problems) -> None:
    """Whether mask AP can be measured, for the val file of a data set whose novel categories may have boxes only.

    A category without any mask is a warning: its box AP is measured, its mask AP is not. One with masks on some of its
    objects is a problem, since AP would count what is found of the others as false.
    """
    counts = count_masks(coco["annotations"])
    named = [(f"{c['name']} ({c['id']})", counts[c["id"]]) for c in coco["categories"] if c["id"] in counts]
    for name, count in named:
        if count.mixed:
            found.add("mixed", f"{path}: {name} has masks on {count.masks} of its {count.annotations} objects")
    without = [name for name, count in named if not count.masks]
    if without:
        subject = "category has" if len(without) == 1 else "categories have"
        text = f"{subject} no masks in {path.name}, so mask AP cannot be measured there: {', '.join(without)}"
        found.warn(text, len(without))


# ---------------------------------------------------------------------------- images


def check_images(coco: dict, folder: Path, annotations: Path, found: Problems) -> dict[str, int]:
    """Look at every image of the file: present, whole, of the recorded size. Returns the byte size per file name.

    A file_name that means an image by its end is replaced by its path; a size that was not recorded is filled in.
    """
    annotated = {annotation["image_id"] for annotation in coco["annotations"]}
    sizes: dict[str, int] = {}
    images, lost = coco["images"], Lost(folder)
    telling = Progress("image verified", len(images)) if len(images) >= MANY else nullcontext()
    with ThreadPoolExecutor(THREADS) as pool, telling as progress:
        looked = pool.map(lambda image: _look(image, folder), images, chunksize=64)
        for number, (image, seen) in enumerate(zip(images, looked, strict=True), start=1):
            if progress:
                progress.update(number)
            if isinstance(seen, ImageError) and seen.kind == "missing" and (path := lost.find(image["file_name"])):
                image["file_name"] = path
                seen = _look(image, folder)
                found.warn(
                    "file names with folders, an address or letters of another machine: read as the image they end in"
                )
            error = seen if isinstance(seen, ImageError) else _noted(seen, image, image["id"] in annotated, found)
            if isinstance(seen, Header):
                sizes[image["file_name"]] = seen.n_bytes
            if error:
                kind = error.kind if error.kind != "missing" else _instead(image["file_name"], lost, annotations)
                found.add(kind, f"{folder / image['file_name']}: {error} (listed in {annotations})")
    return sizes


def _recorded(image: dict) -> Size | None:
    """Width and height as a tool recorded them; some write 0 or nothing."""
    width, height = image.get("width") or 0, image.get("height") or 0
    return (width, height) if width > 0 and height > 0 else None


def _look(image: dict, folder: Path) -> Header | ImageError:
    try:
        header = inspect(folder / image["file_name"])
        header.turns(_recorded(image))
        return header
    except ImageError as error:
        return error


def _noted(header: Header, image: dict, annotated: bool, found: Problems) -> ImageError | None:
    """Counts what is read otherwise than it is stored; the error of an orientation that cannot be decided."""
    if header.bits == 16:
        found.warn("images of 16 bits: read with their darkest value as 0 and their brightest as 255")
    if not _recorded(image):
        image["width"], image["height"] = header.upright
        found.warn("images without width and height in the file, taken from the image, upright")
    if header.ambiguous and annotated:
        return ImageError("orientation", f"Exif orientation {header.orientation}")
    if header.orientation > 1:
        way = "upright" if header.turns((image["width"], image["height"])) else "as stored"
        found.warn(f"images whose Exif says to turn them: read {way}, which is how they were annotated by their size")
    return None


def _instead(name: str, lost: Lost, annotations: Path) -> str:
    """Kind of problem of a missing image, by what lies where else."""
    for kind, folder in (("beside", annotations.parent), ("prefix", lost.folder.parent)):
        if (folder / name).is_file():
            return kind
    return "ending" if lost.other_ending(name) else "missing"
