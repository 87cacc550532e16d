"""Mask GrabCut: an object's mask from its box and the image's colours, without learning.

All of the procedure is a reconstruction (configs/methods/mask-grabcut.py). No torch: what segments with it (grabcut.py)
starts with OpenCV alone.
"""

import cv2
import numpy as np

from contrastmask.config.options import GrabCutOptions

MIN_MARGIN = 16  # pixels
SHRINK = 2  # pixels by which a box that leaves no background gives way on each side
MIN_SIDE = 3  # pixels; colour models of less are noise
MIN_SHARE = 0.01  # of the box; less foreground than this is a failure

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two exclusive


def segment(image: np.ndarray, box: tuple[float, float, float, float], options: GrabCutOptions) -> np.ndarray:
    """Mask of the object in a box; the box itself where GrabCut cannot tell object from background.

    The same arguments give the same mask, whatever was segmented before.

    Args:
        image: (H, W, 3) uint8, BGR.
        box: x1, y1, x2, y2 in pixels; parts outside the image are ignored.

    Returns:
        (H, W) bool, False outside the box.
    """
    height, width = image.shape[:2]
    rectangle = pixels(box, height, width)
    crop = surroundings(rectangle, height, width, options.margin)
    found = cut(image[slices(crop)], within(inner(rectangle, crop), crop), options.iterations)
    mask = np.zeros((height, width), bool)
    if found is None:
        mask[slices(rectangle)] = True
    else:
        mask[slices(crop)] = found
    return mask


def cut(crop: np.ndarray, rectangle: Rectangle, iterations: int) -> np.ndarray | None:
    """GrabCut started from a rectangle, all outside of which is background; None where it fails.

    Args:
        crop: (h, w, 3) uint8.
        rectangle: in the crop, and smaller than it.

    Returns:
        (h, w) bool: certain and probable foreground, which lies in the rectangle.
    """
    left, top, right, bottom = rectangle
    if min(right - left, bottom - top) < MIN_SIDE:
        return None
    labels = np.zeros(crop.shape[:2], np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))  # OpenCV's colour models, filled in place
    cv2.setRNGSeed(0)  # it starts the colour models by k-means from random centres
    try:
        cv2.grabCut(
            np.ascontiguousarray(crop), labels, (left, top, right - left, bottom - top), background, foreground,
            iterations, cv2.GC_INIT_WITH_RECT,
        )  # fmt: skip
    except cv2.error:
        return None
    found = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return found if found.sum() >= MIN_SHARE * (right - left) * (bottom - top) else None


# ---------------------------------------------------------------------------- rectangles


def pixels(box: tuple[float, float, float, float], height: int, width: int) -> Rectangle:
    """The pixels whose centres lie in a box, as far as the image reaches; empty at its border if there are none."""
    x1, y1, x2, y2 = box
    columns, rows = np.rint(np.clip((x1, x2), 0, width)), np.rint(np.clip((y1, y2), 0, height))
    return int(columns[0]), int(rows[0]), int(columns[1]), int(rows[1])


def surroundings(rectangle: Rectangle, height: int, width: int, margin: float) -> Rectangle:
    """A rectangle with `margin` of its width and height more on each side, at least MIN_MARGIN, within the image."""
    left, top, right, bottom = rectangle
    x, y = (max(MIN_MARGIN, round(margin * side)) for side in (right - left, bottom - top))
    return max(left - x, 0), max(top - y, 0), min(right + x, width), min(bottom + y, height)


def inner(rectangle: Rectangle, crop: Rectangle) -> Rectangle:
    """The rectangle, shrunk if it fills the crop: GrabCut needs some background."""
    left, top, right, bottom = rectangle
    if rectangle != crop:
        return rectangle
    return left + SHRINK, top + SHRINK, right - SHRINK, bottom - SHRINK


def within(rectangle: Rectangle, crop: Rectangle) -> Rectangle:
    """The rectangle in the crop's own coordinates."""
    left, top, right, bottom = rectangle
    return left - crop[0], top - crop[1], right - crop[0], bottom - crop[1]


def slices(rectangle: Rectangle) -> tuple[slice, slice]:
    """Rows and columns of a rectangle in an image."""
    left, top, right, bottom = rectangle
    return slice(top, bottom), slice(left, right)
