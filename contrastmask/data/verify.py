"""Checks of a COCO-format data set that run once, before any training.

Errors are what would stop or silently change a training or an evaluation; each message names the file, the
key or value, and the fix. Warnings are counts of what mmdet drops by itself and what the user may want to
know (COCO itself has some boxes thinner than a pixel).
"""

from __future__ import annotations

import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from contrastmask.data.counts import count_masks

REQUIRED: dict[str, dict[str, Any]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "annotations": {"id": int, "image_id": int, "category_id": int, "bbox": list, "area": (int, float)},
    "categories": {"id": int, "name": str},
}
LIMIT = 1e12  # no coordinate or area is larger; comparing with it also refuses NaN and infinity
TAIL = 64  # bytes read from an image's end
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
EXIF_ORIENTATION = 274


def check_shape(coco: Any, path: Path) -> list[str]:
    """Whether `coco` has COCO's lists with their required keys and types. Problems end the checks of the file."""
    if not isinstance(coco, dict):
        return [f"{path}: must be a JSON object with images, annotations and categories"]
    problems = []
    for key, fields in REQUIRED.items():
        rows = coco.get(key)
        if not isinstance(rows, list):
            problems.append(f'{path}: "{key}" is missing or not a list; a COCO file has one')
            continue
        for position, row in enumerate(rows):
            wrong = _wrong_field(row, fields)
            if wrong:
                problems.append(f"{path}: {key}[{position}]: {wrong}")
    return problems


def _wrong_field(row: Any, fields: dict) -> str | None:
    if not isinstance(row, dict):
        return "must be a JSON object"
    for name, kind in fields.items():
        if not isinstance(row.get(name), kind) or isinstance(row[name], bool):
            word = {int: "a whole number", str: "a text", list: "a list"}.get(kind, "a number")
            return f'"{name}" must be {word}, not {row.get(name)!r:.60}'
    return None


def check_annotations(coco: dict, path: Path, need_masks: bool, measured: bool = False) -> tuple[list[str], Counter]:
    """Ids, references, boxes and segmentations of a file that passed `check_shape`.

    `need_masks`: an annotation without a segmentation is an error (evaluation measures masks) instead of a
    warning. `measured`: of val, whose masks evaluation reads whole. Returns the problems and the warnings' counts.
    """
    problems = [
        f"{path}: {key}: {field} {value!r} occurs {count} times; each may occur once"
        for key, field in (
            *(("images", "id"), ("images", "file_name"), ("annotations", "id")),
            *(("categories", "id"), ("categories", "name")),
        )
        for value, count in Counter(row[field] for row in coco[key]).items()
        if count > 1
    ]
    if not coco["images"]:
        problems.append(f"{path}: holds no images")
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    categories = {category["id"] for category in coco["categories"]}
    warnings: Counter = Counter()
    for annotation in coco["annotations"]:
        wrong = _wrong_annotation(annotation, sizes, categories, need_masks, measured, warnings)
        if wrong:
            problems.append(f"{path}: annotation {annotation['id']}: {wrong}")
    return problems, warnings


def _wrong_annotation(
    annotation: dict, sizes: dict, categories: set, need_masks: bool, measured: bool, warnings: Counter
) -> str | None:
    if annotation["image_id"] not in sizes:
        return f'image_id {annotation["image_id"]} is not in "images"; remove the annotation or add the image'
    if annotation["category_id"] not in categories:
        return f'category_id {annotation["category_id"]} is not in "categories"; correct it or add the category'
    if annotation.get("iscrowd") not in (0, 1):
        return f"iscrowd must be 0 or 1, not {annotation.get('iscrowd')!r}; set 0 for a single object"
    size = sizes[annotation["image_id"]]
    return _wrong_box(annotation, size, warnings) or _wrong_mask(annotation, size, need_masks, measured, warnings)


def _wrong_box(annotation: dict, size: tuple[int, int], warnings: Counter) -> str | None:
    """Problem of a box [x, y, w, h]; counts those that mmdet leaves out (`CocoDataset.parse_data_info`)."""
    box, area = annotation["bbox"], annotation["area"]
    if len(box) != 4 or not all(isinstance(v, (int, float)) and -LIMIT < v < LIMIT for v in (*box, area)):
        return f"bbox {box!r:.80} and area {area!r:.20} must be four numbers [x, y, w, h] and one, all finite"
    x, y, w, h = box
    if w < 0 or h < 0 or area < 0:
        return f"bbox {box} or area {area} is negative; a bbox is [x, y, width, height], not two corners"
    if w < 1 or h < 1 or area == 0:
        warnings["boxes thinner than 1 px or of area 0, which training leaves out"] += 1
    elif min(x + w, size[0]) <= max(x, 0) or min(y + h, size[1]) <= max(y, 0):
        return f"bbox {box} lies outside its image of {size[0]}x{size[1]}; correct or remove the annotation"
    elif x < -1 or y < -1 or x + w > size[0] + 1 or y + h > size[1] + 1:
        warnings["boxes that leave their image by more than 1 px"] += 1
    return None


def _wrong_mask(annotation: dict, size: tuple[int, int], needed: bool, measured: bool, warnings: Counter) -> str | None:
    """Problem of a segmentation: absent (allowed unless `needed`), polygons, or RLE of the image's size.

    pycocotools checks nothing: a run length below zero or a point far away makes it crash or take all memory.
    """
    mask = annotation.get("segmentation")
    if not mask:
        if needed:
            return "has no segmentation; evaluation measures masks: add it or remove the annotation"
        warnings["annotations without a segmentation (box only)"] += 1
        return None
    if isinstance(mask, dict):
        return _wrong_rle(mask, size)
    if not isinstance(mask, list):
        return f"segmentation must be polygons or RLE, not {mask!r:.60}"
    strange = [part for part in mask if not _are_coordinates(part)]
    if strange:
        return f"its segmentation holds {strange[0]!r:.60}, which is no list of coordinates; remove it"
    valid = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
    far = max(size)
    if any(min(polygon) < -far or max(polygon) > 2 * far for polygon in valid):
        return f"its segmentation lies far outside its image of {size[0]}x{size[1]}; correct or remove the annotation"
    if not valid:
        return "its segmentation holds no polygon of 3 or more points (x, y, x, y, ...); mend it or use []"
    if len(valid) < len(mask) and measured:
        return "one of its polygons has not 3 or more points (x, y, x, y, ...); remove it, or evaluation cannot read it"
    if len(valid) < len(mask):
        warnings["annotations with an invalid polygon beside valid ones, which training leaves out"] += 1
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
        return f"RLE size {shape} is not [height, width] of its image, {[size[1], size[0]]}"
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


def check_measurable(coco: dict, path: Path) -> tuple[list[str], Counter]:
    """Whether mask AP can be measured, for the val file of a data set whose novel categories may have boxes only.

    A category without any mask is a warning: its box AP is measured, its mask AP is not. One with masks on some
    annotations is a problem, since AP would count what is found of the others as false.
    """
    counts = count_masks(coco["annotations"])
    named = [(f"{c['name']} ({c['id']})", counts[c["id"]]) for c in coco["categories"] if c["id"] in counts]
    problems = [
        f"{path}: category {name} has masks on {count.masks} of its {count.annotations} annotations; evaluation needs "
        "all of them or none: add the missing ones, or leave the segmentation out of all (its mask AP is not measured)"
        for name, count in named
        if count.mixed
    ]
    without = [name for name, count in named if not count.masks]
    subject = "category has" if len(without) == 1 else "categories have"
    text = f"{subject} no masks in {path.name}, so mask AP cannot be measured there: {', '.join(without)}"
    return problems, Counter({text: len(without)} if without else {})


# ---------------------------------------------------------------------------- images


def check_images(
    coco: dict, folder: Path, annotations: Path, threads: int
) -> tuple[list[str], Counter, dict[str, int]]:
    """Open every image of the file: present, whole, of the recorded size.

    Reads headers and the last bytes only; decodes an image in full only if its end mark is missing. Returns
    the problems, the warnings' counts, and the byte size per file name.
    """
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(partial(look_at, folder), coco["images"], chunksize=64))
    problems: list[str] = []
    warnings: Counter = Counter()
    sizes: dict[str, int] = {}
    for image, (problem, n_bytes, turned) in zip(coco["images"], results, strict=True):
        sizes[image["file_name"]] = n_bytes
        if problem:
            problems.append(f"{folder / image['file_name']}: {problem} (listed in {annotations})")
        if turned:
            warnings["images whose EXIF asks to turn them; masks may not fit: save them upright"] += 1
    return problems, warnings, sizes


def look_at(folder: Path, image: dict) -> tuple[str | None, int, bool]:
    """Problem, byte size, and whether EXIF asks for a rotation, of one image."""
    try:
        with (folder / image["file_name"]).open("rb") as stream:
            n_bytes = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, n_bytes - TAIL))
            tail = stream.read()
            stream.seek(0)
            with Image.open(stream) as opened:
                problem = _compare(image, opened, tail)
                return problem, n_bytes, opened.getexif().get(EXIF_ORIENTATION, 1) not in (0, 1)
    except FileNotFoundError:
        return "missing; check data_root, or fetch the images again", 0, False
    # SyntaxError is how some of PIL's readers report a broken file.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"cannot be read as an image ({error}); fetch it again", 0, False


def _compare(image: dict, opened: Image.Image, tail: bytes) -> str | None:
    if opened.size != (image["width"], image["height"]):
        recorded = f"{image['width']}x{image['height']}"
        return f"is {opened.width}x{opened.height}, recorded as {recorded}; correct one of them"
    if END_MARKS.get(opened.format or "", b"") not in tail:
        opened.load()  # raises OSError if it is truncated; some whole files only lack the mark
    return None


# ---------------------------------------------------------------------------- train against val


def check_parts(train: dict, val: dict, train_path: Path, val_path: Path) -> list[str]:
    """Same categories in the same order, no image in both."""
    problems = []
    lists = [[(c["id"], c["name"]) for c in part["categories"]] for part in (train, val)]
    if lists[0] != lists[1]:
        differing = sorted(set(lists[0]) ^ set(lists[1])) or "only their order"
        problems.append(f"{val_path}: its categories differ from {train_path} ({differing}); give both the same list")
    if not lists[0]:
        problems.append(f"{train_path}: holds no categories")
    for field in ("id", "file_name"):
        shared = {i[field] for i in train["images"]} & {i[field] for i in val["images"]}
        if shared:
            some = ", ".join(map(repr, sorted(shared)[:3]))
            problems.append(
                f"{val_path}: {len(shared)} image {field}s also occur in {train_path} ({some}); "
                "train and val must not share images: give each image its own"
            )
    return problems
