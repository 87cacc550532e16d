"""Boxes that are not what COCO's are, [x, y, width, height] in pixels, and masks that are only boxes.

Two corners, a centre or shares of the image are four numbers too, and training would learn them without a word; the
polygons of the same objects tell. Some tools export a box as the polygon of its four corners: no mask is learned of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from contrastmask.data.images import Size

Box = list[float]

SAMPLED = 1000  # objects with polygons
FITS = 0.8  # IoU from which a box is that of a polygon


def _from_corners(box: Box, size: Size) -> Box:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


def _from_centre(box: Box, size: Size) -> Box:
    x, y, w, h = box
    return [x - w / 2, y - h / 2, w, h]


def _from_shares(box: Box, size: Size) -> Box:
    return [share * side for share, side in zip(box, size * 2, strict=True)]


#: What a box may be instead, and how it is read then, in an image of a size.
READINGS: dict[str, Callable[[Box, Size], Box]] = {
    "[x1, y1, x2, y2], two corners": _from_corners,
    "[centre x, centre y, width, height]": _from_centre,
    "[x, y, width, height] as shares of the image": _from_shares,
    "[centre x, centre y, width, height] as shares of the image": lambda box, size: _from_centre(
        _from_shares(box, size), size
    ),
}


def bounding_box(mask: Any) -> Box | None:
    """Of COCO polygons; None for a mask that is none, or holds what is no polygon."""
    if not isinstance(mask, list) or not mask:
        return None
    for part in mask:
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2 or not all(map(_is_number, part)):
            return None
    x, y = ([value for part in mask for value in part[start::2]] for start in (0, 1))
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def misread_boxes(annotations: Iterable[dict[str, Any]], sizes: Mapping[Any, Size | None]) -> str | None:
    """What the boxes of most objects are instead, with an example; None if they are COCO's, or nothing tells.

    Args:
        annotations: with four finite numbers as bbox; those without polygons tell nothing.
        sizes: of the images, by id.
    """
    told = list(islice(_boxes_and_bounds(annotations, sizes), SAMPLED))
    if 2 * sum(_iou(box, bounds) >= FITS for _, box, bounds, _ in told) >= len(told):
        return None
    for what, read in READINGS.items():
        fitting = [id for id, box, bounds, size in told if _iou(read(box, size), bounds) >= FITS]
        if 2 * len(fitting) > len(told):
            box = next(box for id, box, _, _ in told if id == fitting[0])
            return f"by their polygons they are {what}, such as {box} of annotation {fitting[0]}"
    return None


def _boxes_and_bounds(annotations: Iterable[dict[str, Any]], sizes: Mapping[Any, Size | None]) -> Any:
    """Id, box, the polygons' bounding box, image size; of objects that have all of it."""
    for annotation in annotations:
        size = sizes.get(annotation["image_id"])
        bounds = bounding_box(annotation.get("segmentation"))
        if size and bounds:
            yield annotation["id"], annotation["bbox"], bounds, size


def _iou(a: Box, b: Box) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0


def rectangles(annotations: Iterable[dict[str, Any]]) -> Counter[Any]:
    """Masks of each category, by its id, whose masks are all the rectangles of their boxes."""
    found: Counter[Any] = Counter()
    others = set()
    for annotation in annotations:
        category, mask = annotation["category_id"], annotation.get("segmentation")
        if mask and category not in others:
            if _is_rectangle(mask, annotation["bbox"]):
                found[category] += 1
            else:
                others.add(category)
    return Counter({category: count for category, count in found.items() if category not in others})


def _is_rectangle(mask: Any, box: Box) -> bool:
    """Whether the mask is one polygon of the box's four corners, give or take a pixel."""
    if bounding_box(mask) is None or len(mask) > 1 or len(mask[0]) not in (8, 10):
        return False
    x, y, w, h = box
    corners = set()
    for px, py in zip(mask[0][::2], mask[0][1::2], strict=True):
        right, lower = abs(px - x) > abs(px - x - w), abs(py - y) > abs(py - y - h)
        if abs(px - x - right * w) > 1 or abs(py - y - lower * h) > 1:
            return False
        corners.add((right, lower))
    return len(corners) == 4
