"""What is drawn, and that base and novel differ without colour."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import font_manager

from contrastmask.data import overlay
from contrastmask.data.overlay import READABLE, draw
from contrastmask.evaluation.evaluate import encode

CATEGORIES = [{"id": 3, "name": "car", "split": "base"}, {"id": 7, "name": "кошка", "split": "novel"}]
GREY = np.full((300, 700, 3), 128, dtype=np.uint8)


def detection(category: int, box: tuple[int, int, int, int] = (100, 80, 400, 150)) -> dict[str, Any]:
    x, y, w, h = box
    mask = torch.zeros(300, 700, dtype=torch.bool)
    mask[max(y, 0) : y + h, max(x, 0) : x + w] = True
    return {"category_id": category, "score": 0.9, "bbox": [x, y, w, h], "segmentation": encode(mask)}


def drawn(*detections: dict[str, Any], image: np.ndarray = GREY, categories: list = CATEGORIES) -> np.ndarray:
    return np.array(draw(image, list(detections), categories, {"base": "masks", "novel": "boxes only"}))


def test_an_image_without_objects_is_itself_with_a_legend_below() -> None:
    picture = drawn()
    assert np.array_equal(picture[:300], GREY)
    assert picture.shape[0] > 300 and (picture[300:] < 50).any()


def test_a_mask_is_tinted_and_the_rest_is_left_alone() -> None:
    picture = drawn(detection(3))
    assert not np.array_equal(picture[150, 300], GREY[0, 0])
    assert np.array_equal(picture[280, 650], GREY[0, 0])
    assert np.array_equal(GREY, np.full_like(GREY, 128)), "the image given is not drawn on"


def test_an_object_without_a_mask_is_its_box_alone() -> None:
    found = detection(7)
    del found["segmentation"]
    picture = drawn(found)
    assert np.array_equal(picture[150, 300], GREY[0, 0]) and (picture[229:231, 120:480] != 128).any()


def test_base_is_solid_and_novel_dashed_also_in_grey() -> None:
    """Along the box's lower edge brightness changes with the dashes, and does not without."""

    def changes(category: int) -> int:
        grey = drawn(detection(category))[..., :3].mean(axis=2)
        edge = grey[229:231, 120:480].mean(axis=0)
        return int((np.abs(np.diff(edge)) > 20).sum())

    assert changes(3) == 0
    assert changes(7) > 20


@pytest.mark.parametrize("box", [(-5, -5, 30, 30), (690, 290, 50, 50), (0, 0, 700, 300), (200, 100, 0, 0)])
def test_boxes_at_and_over_the_border_can_be_drawn(box: tuple[int, int, int, int]) -> None:
    assert drawn(detection(3, box), detection(7, box)).shape[1] == 700


def test_a_name_that_no_font_has_is_drawn_as_its_number(monkeypatch, capsys: pytest.CaptureFixture) -> None:
    """\u2312 is in DejaVu Sans Mono, not in DejaVu Sans."""

    def named(name: str) -> np.ndarray:
        return drawn(detection(7), categories=[{"id": 7, "name": name, "split": "novel"}])

    number, mono = named("7"), overlay.DEJAVU.replace("DejaVuSans", "DejaVuSansMono")
    for fonts, is_number in (([], True), ([overlay.__file__, mono], False)):
        overlay._file_for.cache_clear()
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda fonts=fonts: fonts)
        assert all(np.array_equal(named("\u2312"), number) == is_number for _ in range(2))
        assert capsys.readouterr().err.count("its number is drawn") == is_number, "said once"
    overlay._file_for.cache_clear()


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    assert drawn(image=GREY[:100, :150]).shape[1] == 150 * (READABLE // 150)


def test_the_drawing_is_the_same_each_time() -> None:
    found = (detection(3), detection(7, (50, 50, 100, 100)))
    assert np.array_equal(drawn(*found), drawn(*found))
