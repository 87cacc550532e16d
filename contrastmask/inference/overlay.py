"""An image with what was found in it: masks, boxes, labels, and a legend that tells base from novel categories.

The two differ in colour (blues and greens, reds and oranges of the Okabe-Ito palette) and, for print and for eyes that
do not tell the colours apart, in the line: solid for base, dashed for novel.
"""

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

COLOURS = {  # RGB
    "base": ((0, 114, 178), (0, 158, 115), (86, 180, 233)),
    "novel": ((213, 94, 0), (230, 159, 0), (204, 121, 167)),
}
OPACITY = 0.35
READABLE = 640  # pixels of the longer side up to which small images are enlarged, so that labels can be read


def draw(
    image: np.ndarray,
    detections: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    trained_with: dict[str, str],
) -> Image.Image:
    """The overlay of an image, enlarged if it is small, with a legend below.

    Args:
        image: (H, W, 3) uint8, RGB.
        detections: entries of COCO's result format with masks of (H, W), best first; annotations have no score.
        categories: with `id`, `name`, `split`.
        trained_with: what the training saw of "base" and of "novel" categories, for the legend.
    """
    by_id = {category["id"]: category for category in categories}
    factor = max(1, READABLE // max(image.shape[:2]))
    canvas = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    width = max(2, round(max(canvas.shape[:2]) / 400))
    colours = _colours(detections, by_id)
    shown = list(zip(detections, colours, strict=True))[::-1]  # the best on top
    masks = [_enlarged(found["segmentation"], factor) for found, _ in shown]
    for mask, (_, colour) in zip(masks, shown, strict=True):
        inside = mask.astype(bool)
        canvas[inside] = ((1 - OPACITY) * canvas[inside] + OPACITY * np.array(colour)).astype(np.uint8)
    for mask, (found, colour) in zip(masks, shown, strict=True):
        dashed = by_id[found["category_id"]]["split"] == "novel"
        for contour in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            _line(canvas, contour[:, 0], colour, width, dashed)
        _line(canvas, _border(found["bbox"], factor, canvas.shape), colour, max(2, width // 2), dashed)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    font = _font(max(12, round(max(canvas.shape[:2]) / 55)))
    for found, colour in shown:
        category = by_id[found["category_id"]]
        x, y = found["bbox"][0] * factor, found["bbox"][1] * factor
        score = f" {found['score']:.2f}" if "score" in found else ""
        _label(pen, picture.size, (x, y), category["name"] + score, colour, font)
    splits = [by_id[found["category_id"]]["split"] for found in detections]
    legend = {group: f"{group}: trained with {trained_with[group]} ({splits.count(group)})" for group in COLOURS}
    return _with_legend(picture, legend, width, font)


def _enlarged(rle: dict[str, Any], factor: int) -> np.ndarray:
    """A mask (factor H, factor W) of 0 and 1."""
    return cv2.resize(coco_mask.decode(rle), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def _colours(detections: list[dict[str, Any]], by_id: dict[int, dict[str, Any]]) -> list[tuple[int, int, int]]:
    """A colour of its group for each detection, in turn."""
    counts = {"base": 0, "novel": 0}
    colours = []
    for found in detections:
        group = by_id[found["category_id"]]["split"]
        colours.append(COLOURS[group][counts[group] % len(COLOURS[group])])
        counts[group] += 1
    return colours


def _border(bbox: list[float], factor: int, shape: tuple[int, ...]) -> np.ndarray:
    """Points (n, 2) along a box, one a pixel, inside the image."""
    x1, y1, w, h = (value * factor for value in bbox)
    right, bottom = shape[1] - 1, shape[0] - 1
    xs = np.arange(round(max(x1, 0)), round(min(x1 + w, right)) + 1)
    ys = np.arange(round(max(y1, 0)), round(min(y1 + h, bottom)) + 1)
    if len(xs) == 0 or len(ys) == 0:
        return np.empty((0, 2), dtype=np.int32)
    sides = (
        np.stack([xs, np.full_like(xs, ys[0])], 1),
        np.stack([np.full_like(ys, xs[-1]), ys], 1),
        np.stack([xs[::-1], np.full_like(xs, ys[-1])], 1),
        np.stack([np.full_like(ys, xs[0]), ys[::-1]], 1),
    )
    return np.concatenate(sides).astype(np.int32)


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


def _with_legend(picture: Image.Image, legend: dict[str, str], width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """`picture` on a strip that shows both lines and says what they mean."""
    row, sample = round(font.size * 1.6), 4 * round(font.size)
    strip = np.full((2 * row + 8, picture.width, 3), 255, dtype=np.uint8)
    for number, group in enumerate(COLOURS):
        y = 4 + number * row + row // 2
        points = np.stack([np.arange(8, 8 + sample), np.full(sample, y)], 1).astype(np.int32)
        _line(strip, points, COLOURS[group][0], width, group == "novel")
    below = Image.fromarray(strip)
    pen = ImageDraw.Draw(below)
    for number, text in enumerate(legend.values()):
        pen.text((16 + sample, 4 + number * row + row // 2), text, fill="black", font=font, anchor="lm")
    whole = Image.new("RGB", (picture.width, picture.height + below.height), "white")
    whole.paste(picture, (0, 0))
    whole.paste(below, (0, picture.height))
    return whole


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: categories of one's own may be in Greek or Cyrillic."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
