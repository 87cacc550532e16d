"""GrabCut in a box: objects that are known, boxes that are difficult, and the same mask every time."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrastmask.config.options import GrabCutOptions
from contrastmask.evaluation.grabcut import MIN_MARGIN, inner, pixels, segment, surroundings

DEFAULT = GrabCutOptions()
HEIGHT, WIDTH = 90, 120


def disc(x: int = 60, y: int = 45, radius: int = 22) -> np.ndarray:
    """(HEIGHT, WIDTH) bool."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def picture(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A red object on blue ground, with a little noise."""
    clean = np.where(mask[..., None], (30, 40, 200), (190, 80, 40))
    return np.clip(clean + np.random.default_rng(seed).normal(0, 4, clean.shape), 0, 255).astype(np.uint8)


def box_of(mask: np.ndarray, grown: int = 0) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    return columns.min() - grown, rows.min() - grown, columns.max() + 1 + grown, rows.max() + 1 + grown


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# ---------------------------------------------------------------------------- objects


@pytest.mark.parametrize("options", [DEFAULT, GrabCutOptions(1), GrabCutOptions(10), GrabCutOptions(5, 0.0)])
def test_an_object_of_another_colour_is_found(options: GrabCutOptions) -> None:
    assert iou(segment(picture(disc()), box_of(disc()), options), disc()) > 0.97


def test_the_mask_is_that_of_opencvs_grabcut_on_the_enlarged_box() -> None:
    """The protocol written out: a box of 50 x 30 pixels, 25 and, instead of 15, 16 more on each side."""
    image, box = picture(disc(65, 45, 14), seed=1), (40.0, 30.0, 90.0, 60.0)
    crop, labels = image[14:76, 15:115].copy(), np.zeros((62, 100), np.uint8)
    cv2.setRNGSeed(0)
    cv2.grabCut(crop, labels, (25, 16, 50, 30), np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[14:76, 15:115] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    assert 0 < expected.sum() < 50 * 30
    assert np.array_equal(segment(image, box, DEFAULT), expected)
    assert surroundings((40, 30, 90, 60), HEIGHT, WIDTH, 0.5) == (15, 14, 115, 76)


def test_grabcut_takes_as_many_rounds_as_the_option_says(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    monkeypatch.setattr(cv2, "grabCut", lambda *given: rounds.append(given[5]))
    for iterations in (1, 7):
        segment(picture(disc()), box_of(disc()), GrabCutOptions(iterations))
    assert rounds == [1, 7]


# ---------------------------------------------------------------------------- difficult boxes


def test_a_box_that_covers_the_image_still_has_background() -> None:
    found = segment(picture(disc()), (0, 0, WIDTH, HEIGHT), DEFAULT)
    assert iou(found, disc()) > 0.97
    assert inner((0, 0, WIDTH, HEIGHT), (0, 0, WIDTH, HEIGHT)) == (2, 2, WIDTH - 2, HEIGHT - 2)
    assert inner((0, 0, WIDTH, HEIGHT - 1), (0, 0, WIDTH, HEIGHT)) == (0, 0, WIDTH, HEIGHT - 1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 30), (30, 2)])
def test_a_box_under_three_pixels_is_its_own_mask(width: int, height: int) -> None:
    box = (50.0, 40.0, 50.0 + width, 40.0 + height)
    expected = rectangle(50, 40, 50 + width, 40 + height)
    assert np.array_equal(segment(picture(disc()), box, DEFAULT), expected)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_nothing_to_tell_apart_gives_the_box(value: int) -> None:
    image = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    assert np.array_equal(segment(image, (20, 10, 70, 60), DEFAULT), rectangle(20, 10, 70, 60))


def test_a_failure_of_opencv_gives_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("made up")

    monkeypatch.setattr(cv2, "grabCut", fail)
    assert np.array_equal(segment(picture(disc()), (20, 10, 70, 60), DEFAULT), rectangle(20, 10, 70, 60))


@pytest.mark.parametrize(("found", "kept"), [(25, True), (24, False)])
def test_less_than_a_hundredth_of_the_box_is_a_failure(monkeypatch: pytest.MonkeyPatch, found: int, kept: bool) -> None:
    """A box of 2500 pixels."""

    def few(image: np.ndarray, labels: np.ndarray, rect: tuple[int, int, int, int], *_: object) -> None:
        labels[rect[1], rect[0] : rect[0] + found] = cv2.GC_PR_FGD

    monkeypatch.setattr(cv2, "grabCut", few)
    mask = segment(picture(disc()), (20, 10, 70, 60), DEFAULT)
    assert np.array_equal(mask, rectangle(20, 10, 20 + found, 11) if kept else rectangle(20, 10, 70, 60))


def test_a_box_outside_the_image_has_no_mask() -> None:
    assert not segment(picture(disc()), (200.0, 10.0, 240.0, 50.0), DEFAULT).any()


@pytest.mark.parametrize("side", [1, 2, 4, 6])
def test_an_image_smaller_than_any_margin_is_segmented(side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert segment(image, (0, 0, side, side), DEFAULT).shape == (side, side)


coordinate = st.floats(-40, 160, allow_nan=False)


@given(x=st.tuples(coordinate, coordinate), y=st.tuples(coordinate, coordinate), margin=st.floats(0, 3))
def test_margins_stay_in_the_image_and_hold_the_box(
    x: tuple[float, float], y: tuple[float, float], margin: float
) -> None:
    box = (min(x), min(y), max(x), max(y))
    left, top, right, bottom = rect = pixels(box, HEIGHT, WIDTH)
    crop = surroundings(rect, HEIGHT, WIDTH, margin)
    assert 0 <= crop[0] <= left <= right <= crop[2] <= WIDTH
    assert 0 <= crop[1] <= top <= bottom <= crop[3] <= HEIGHT
    for outside, inside, border in ((crop[0], left, 0), (crop[1], top, 0), (crop[2], right, WIDTH)):
        assert outside == border or abs(inside - outside) >= MIN_MARGIN


def test_a_box_holds_the_pixels_whose_centres_it_holds() -> None:
    for x1, x2 in ((3.2, 7.9), (3.6, 7.4), (0.0, 10.0), (-5.0, 200.0)):
        left, _, right, _ = pixels((x1, 0, x2, 5), HEIGHT, WIDTH)
        assert list(range(left, right)) == [c for c in range(WIDTH) if x1 <= c + 0.5 <= x2]


# ---------------------------------------------------------------------------- the same mask every time


@given(seed=st.integers(0, 2**31 - 1))
def test_a_mask_does_not_depend_on_what_came_before(seed: int) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (48, 48, 3), np.uint8)
    first = segment(noise, (10, 8, 40, 38), DEFAULT)
    cv2.setRNGSeed(seed)
    cv2.randu(np.zeros((8, 8), np.uint8), 0, 255)
    segment(picture(disc(), seed), box_of(disc()), GrabCutOptions(iterations=1))
    assert np.array_equal(segment(noise, (10, 8, 40, 38), DEFAULT), first)


@given(
    x=st.tuples(coordinate, coordinate), y=st.tuples(coordinate, coordinate), margin=st.sampled_from((0.0, 0.5, 2.0))
)
def test_a_mask_lies_in_its_box_and_is_empty_only_with_it(
    x: tuple[float, float], y: tuple[float, float], margin: float
) -> None:
    box = (min(x), min(y), max(x), max(y))
    mask = segment(picture(disc()), box, GrabCutOptions(1, margin))
    allowed = rectangle(*pixels(box, HEIGHT, WIDTH))
    assert not (mask & ~allowed).any()
    assert mask.any() == allowed.any()
