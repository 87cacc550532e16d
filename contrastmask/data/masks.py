"""Binary masks to COCO segmentations that decode to exactly the same mask, and these to compressed RLE."""

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

Mask = np.ndarray  # (H, W) bool


def bounding_box(mask: Mask) -> list[float]:
    """[x, y, w, h] in pixels of a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    x, y = columns[0], rows[0]
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]


def box_polygon(box: list[float]) -> list[list[float]]:
    """The rectangle of [x, y, w, h] as a COCO segmentation of one polygon."""
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def run_lengths(mask: Mask) -> dict:
    """Uncompressed COCO RLE: column-major run lengths, the first run counts zeros. COCO uses it for crowds."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8), [0]])
    changes = np.flatnonzero(np.diff(flat))
    edges = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(edges)
    if len(counts) > 1 and counts[-1] == 0:  # the mask ends in ones
        counts = counts[:-1]
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Compressed RLE of COCO polygons or RLE; polygons that pycocotools cannot read are left out, as training does."""
    if isinstance(segmentation, list):
        readable = [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
        return coco_mask.merge(coco_mask.frPyObjects(readable, height, width))
    compressed = not isinstance(segmentation["counts"], list)
    return segmentation if compressed else coco_mask.frPyObjects(segmentation, height, width)


def polygons(mask: Mask) -> list[list[float]]:
    """A mask as COCO polygons along pixel edges, in pixels.

    Polygons have no holes and mmdet ignores objects given as RLE unless it rasterises first, so a part with
    a hole is cut through it into abutting parts without one. Corners are whole numbers: both pycocotools and
    mmdet rasterise the result to `mask` itself. Floats, because mmdet scales the array in place.
    """
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    found: list[list[float]] = []
    for label in range(1, count):
        x, y, w, h = boxes[label, :4]
        part = labels[y : y + h, x : x + w] == label
        for piece in _cut(part):
            found.append((piece + np.array([x, y])).astype(float).ravel().tolist())
    return found


def _cut(part: Mask) -> list[np.ndarray]:
    """Outlines (P, 2) of a 4-connected part; where it has a hole, of the pieces left and right of a cut."""
    # Three pixels for one: the outline of the enlarged part tells a pixel's left edge from its right one.
    large = part.astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    holes = [contour for contour, links in zip(contours, hierarchy[0], strict=True) if links[3] >= 0]
    if not holes:
        return [_corners((contours[0][:, 0] + 1) // 3)]
    x, _, w, _ = cv2.boundingRect(holes[0])
    column = (x + w // 2) // 3
    outlines = []
    for start, half in ((0, part[:, :column]), (column, part[:, column:])):
        count, labels = cv2.connectedComponents(half.astype(np.uint8), connectivity=4)
        for label in range(1, count):
            outlines += [outline + np.array([start, 0]) for outline in _cut(labels == label)]
    return outlines


def _corners(path: np.ndarray) -> np.ndarray:
    """Drop repeated and collinear points of a closed axis-aligned path (P, 2)."""
    path = path[(path != np.roll(path, 1, axis=0)).any(1)]
    before, after = path - np.roll(path, 1, axis=0), np.roll(path, -1, axis=0) - path
    return path[(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) != 0]
