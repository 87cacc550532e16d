"""An image with what was found in it, or is annotated: masks, boxes, labels, a legend that tells base from novel.

The two differ in colour (blues and greens, reds and oranges of the Okabe-Ito palette) and, for print and for eyes that
do not tell the colours apart, in the line: solid for base, dashed for novel.
"""

from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from contrastmask.runtime.terminal import say

COLOURS = {  # RGB
    "base": ((0, 114, 178), (0, 158, 115), (86, 180, 233)),
    "novel": ((213, 94, 0), (230, 159, 0), (204, 121, 167)),
}
OPACITY = 0.35
DEJAVU = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
READABLE = 640  # pixels of the longer side up to which small images are enlarged, so that labels can be read


def draw(
    image: np.ndarray, detections: list[dict[str, Any]], categories: list[dict[str, Any]], trained_with: dict[str, str]
) -> Image.Image:
    """The overlay of an image, enlarged if it is small, with a legend below.

    Args:
        image: (H, W, 3) uint8, RGB.
        detections: entries of COCO's result format, best first; masks of (H, W) where there are, and scores.
        categories: with `id`, `name`, `split`; the id is drawn where no font has the name's characters.
        trained_with: what the training saw of "base" and of "novel" categories, for the legend.
    """
    by_id = {category["id"]: category for category in categories}
    splits = [by_id[found["category_id"]]["split"] for found in detections]
    colours = {group: cycle(COLOURS[group]) for group in COLOURS}
    shown = [(found, next(colours[split]), split == "novel") for found, split in zip(detections, splits, strict=True)]
    shown = shown[::-1]  # the best on top
    factor = max(1, READABLE // max(image.shape[:2]))
    canvas = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    height, width = canvas.shape[:2]
    thickness, font = max(2, round(max(height, width) / 400)), _font(max(12, round(max(height, width) / 55)))
    _objects(canvas, shown, factor, thickness)
    row, sample = round(font.size * 1.6), 4 * round(font.size)
    canvas = cv2.copyMakeBorder(canvas, 0, 2 * row + 8, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    legend = {group: height + 4 + number * row + row // 2 for number, group in enumerate(COLOURS)}
    for group, y in legend.items():
        points = np.stack([np.arange(8, 8 + sample), np.full(sample, y)], 1).astype(np.int32)
        _line(canvas, points, COLOURS[group][0], thickness, group == "novel")
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for found, colour, _ in shown:
        score = f" {found['score']:.2f}" if "score" in found else ""
        corner = (found["bbox"][0] * factor, found["bbox"][1] * factor)
        category = by_id[found["category_id"]]
        file = _file_for(category["name"])
        text = category["name"] if file else str(category["id"])
        _label(pen, (width, height), corner, text + score, colour, _font(font.size, file or DEJAVU))
    for group, y in legend.items():
        text = f"{group}: trained with {trained_with[group]} ({splits.count(group)})"
        pen.text((16 + sample, y), text, fill="black", font=font, anchor="lm")
    return picture


def _objects(
    canvas: np.ndarray, shown: list[tuple[dict[str, Any], tuple[int, int, int], bool]], factor: int, thickness: int
) -> None:
    """Masks, their outlines and boxes, drawn into `canvas`; of each object: detection, colour, dashed or not."""
    masks = [
        cv2.resize(coco_mask.decode(found["segmentation"]), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if "segmentation" in found
        else np.zeros(canvas.shape[:2], np.uint8)
        for found, _, _ in shown
    ]
    for mask, (_, colour, _) in zip(masks, shown, strict=True):
        inside = mask.astype(bool)
        canvas[inside] = ((1 - OPACITY) * canvas[inside] + OPACITY * np.array(colour)).astype(np.uint8)
    for mask, (found, colour, dashed) in zip(masks, shown, strict=True):
        x, y, w, h = (round(value * factor) for value in found["bbox"])
        box = cv2.rectangle(np.zeros_like(mask), (x, y), (x + w, y + h), 1, cv2.FILLED)
        for part, line in ((mask, thickness), (box, max(2, thickness // 2))):
            for contour in cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
                _line(canvas, contour[:, 0], colour, line, dashed)


def _line(canvas: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], width: int, dashed: bool) -> None:
    """A closed line through `points` (n, 2), which lie one pixel apart; on white, to be seen on any ground."""
    if len(points) == 0:
        return
    dash = 6 + 2 * width
    pieces = [points[start : start + dash] for start in range(0, len(points), 2 * dash)] if dashed else [points]
    for ink, thickness in (((255, 255, 255), width + 2), (colour, width)):
        cv2.polylines(canvas, [piece.reshape(-1, 1, 2) for piece in pieces], not dashed, ink, thickness, cv2.LINE_AA)


def _label(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    corner: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """Black on white with a coloured edge, above the box's corner, moved into the image."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    w, h = right - left + 6, bottom - top + 6
    x = min(max(corner[0], 0), max(size[0] - w, 0))
    y = min(max(corner[1] - h, 0), max(size[1] - h, 0))
    pen.rectangle((x, y, x + w, y + h), fill="white", outline=colour, width=2)
    pen.text((x + 3 - left, y + 3 - top), text, fill="black", font=font)


@cache
def _font(size: int, file: str = DEJAVU) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _file_for(name: str) -> str | None:
    """A font that has every character of a name: DejaVu Sans, which comes with matplotlib, or one of the system's."""
    needed = {ord(char) for char in name + " .0123456789" if char.isprintable()}
    if needed <= _characters(DEJAVU):
        return DEJAVU
    from matplotlib.font_manager import findSystemFonts  # lists all fonts when it is imported

    for file in sorted(findSystemFonts()):
        if needed <= _characters(file):
            return file
    missing = "its number is drawn until one is installed, such as Debian's fonts-noto-cjk"
    say(f"warning: no font on this machine has all characters of {name}: {missing}", error=True)
    return None


@cache
def _characters(file: str) -> frozenset[int]:
    """The code points that a font file has; none of one that cannot be drawn with."""
    try:
        ImageFont.truetype(file, 12)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
