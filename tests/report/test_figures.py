"""Which images and objects the figures show, and how a pseudo mask is coloured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from contrastmask.errors import ConfigError, DataError
from contrastmask.evaluation.examples import FILE, crop, largest, read_examples
from contrastmask.report import drawing, figures
from contrastmask.report.figure_rows import figure_rows, load_figures
from contrastmask.report.figures import best, choose_images

BASE, NOVEL = [8, 9], [1, 2]
CONTENT: dict[str, Any] = {"count": 2, "images": {"listed": [5, 3]}}


def annotation(image: int, category: int, number: int = 1, crowd: int = 0, side: float = 10) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd, "bbox": [0, 0, side, side]}


def test_the_first_images_with_both_sides():
    annotations = [
        annotation(7, 1), annotation(7, 8), annotation(4, 2), annotation(4, 9), annotation(6, 1), annotation(6, 8),
        annotation(1, 1), annotation(1, 8, crowd=1), annotation(2, 8), annotation(3, 99), annotation(3, 1),
        annotation(0, 8, side=0.5), annotation(0, 1),
    ]  # fmt: skip
    assert choose_images(CONTENT, "any", annotations, BASE, NOVEL) == [4, 6]
    assert choose_images(CONTENT, "any", reversed(annotations), BASE, NOVEL) == [4, 6]


def test_listed_images_come_as_listed():
    assert choose_images(CONTENT, "listed", [annotation(3, 1), annotation(5, 1)], BASE, NOVEL) == [5, 3]


@pytest.mark.parametrize(("scale", "words"), [("listed", "images.listed: .* id 5"), ("any", "no val image")])
def test_images_that_are_not_there(scale: str, words: str):
    with pytest.raises(DataError, match=words):
        choose_images(CONTENT, scale, [annotation(3, 1)], BASE, NOVEL)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 10))
def test_best_is_a_stable_sort(scores: list[int], number: int):
    detections = [{"score": score / 5, "id": i} for i, score in enumerate(scores)]
    chosen = best(detections, number)
    assert len(chosen) == min(number, len(scores))
    keys = [(-d["score"], d["id"]) for d in chosen]
    assert keys == sorted(keys)
    rest = [d["score"] for d in detections if d not in chosen]
    assert not chosen or not rest or min(d["score"] for d in chosen) >= max(rest)


def test_largest_of_the_novel_objects():
    annotations = [annotation(1, 1, 1, side=5), annotation(1, 8, 2, side=50), annotation(1, 2, 4, side=9),
                   annotation(1, 2, 3, side=9), annotation(1, 1, 5, crowd=1, side=99)]  # fmt: skip
    assert [a["id"] for a in largest(annotations, NOVEL, 2)] == [3, 4]
    wide, high = annotation(1, 1, 6) | {"bbox": [0, 0, 50, 3]}, annotation(1, 1, 7) | {"bbox": [0, 0, 3, 40]}
    assert [a["id"] for a in largest([*annotations, high, wide], NOVEL, 2)] == [6, 7]


def test_the_project_s_own_file_names_rows_that_exist():
    assert load_figures()["count"] > 0
    without, with_ = figure_rows("figure6", "paper").values()
    assert dict(without.options)["cl"] is False and with_.options == ()
    assert list(figure_rows("figure7", "paper").values()) == [with_]
    assert list(figure_rows("objects", "paper")) == ["Baseline", "Baseline + CM", "Baseline + CM + CL"]


def test_a_row_that_does_not_exist_is_named(configs: Path):
    content = load_figures()
    content["figure7"]["row"] = "Baseline + nothing"
    (configs / "figures.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"figures.yaml, figure7: table2 has no row 'Baseline \+ nothing'.*CL"):
        figure_rows("figure7", "paper")


def test_a_figure_of_objects_without_any_or_without_a_map_says_so(tmp_path: Path):
    row = SimpleNamespace(id="mask-rcnn")
    source = SimpleNamespace(
        settings=SimpleNamespace(scale={"name": "mine"}), images=[1], split={"novel": [3]}, runs={"Baseline": row},
        truth=SimpleNamespace(imgToAnns={1: [{"id": 7, "image_id": 1, "category_id": 2, "bbox": [0, 0, 4, 4]}]}),
        folder=lambda run: tmp_path, image=lambda id: np.zeros((8, 8, 3)),
    )  # fmt: skip
    with pytest.raises(DataError, match=r"images.mine: none of these images has a novel object"):
        figures.Source.objects.fget(source)  # type: ignore[attr-defined]
    source.objects = source.truth.imgToAnns[1]
    np.savez(tmp_path / FILE, **{"7/mask": np.ones((4, 4), bool)})
    with pytest.raises(DataError, match="figure7: mask-rcnn has no class activation map"):
        figures.figure7(source)  # type: ignore[arg-type]


def test_a_pseudo_mask_has_three_colours():
    seen = {"foreground": np.array([[True, False, False]]), "background": np.array([[False, True, False]])}
    expected = [to_rgb(c) for c in (figures.FOREGROUND, figures.BACKGROUND, figures.UNDECIDED)]
    assert np.allclose(figures.pseudo_mask_colours(seen), [expected])


def test_examples_that_cannot_be_read_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=rf"{FILE} cannot be read .* draw the figure again"):
        read_examples(tmp_path)
    np.savez(tmp_path / FILE, **{"7/mask": np.ones((2, 3), bool), "7/cam": np.zeros((2, 2))})
    assert {name: array.shape for name, array in read_examples(tmp_path)[7].items()} == {"mask": (2, 3), "cam": (2, 2)}
    (tmp_path / FILE).write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("bbox", "shape"),
    [([0, 0, 4, 3], (3, 4)), ([1.5, 0.5, 2, 2], (3, 3)), ([3.9, 2.9, 1, 1], (1, 1)), ([0, 0, 99, 99], (3, 4))],
)
def test_crop_has_the_pixels_that_a_box_touches(bbox: list[float], shape: tuple[int, int]):
    assert crop(np.zeros((3, 4, 3), np.uint8), bbox).shape[:2] == shape


def test_figures_are_the_same_twice_and_take_any_label(tmp_path: Path):
    image = np.full((20, 30, 3), 200, np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[:8, 5:20] = True
    found = [drawing.Instance(mask, (5, -1), "$x_1$ <cup>", True), drawing.Instance(~mask | mask, (0, 0), "all", False),
             drawing.Instance(mask & ~mask, (3, 3), "box only", False)]  # fmt: skip
    panels = [drawing.Panel(image, found), drawing.Panel(image, map=np.eye(3)),
              drawing.Panel(image, map=np.zeros((3, 3, 3)))]  # fmt: skip
    written = []
    for name in ("one", "two"):
        figure = drawing.draw(["a", "b", "$c$"], [panels], ["$title$"], figures.HANDLES["figure6"], "scale smoke")
        written.append([path.read_bytes() for path in drawing.save(figure, tmp_path / name)])
    assert written[0] == written[1] and all(len(content) > 1000 for content in written[0])
