"""Parts of the plots that are not drawing."""

import base64

import pytest
from matplotlib.figure import Figure

from contrastmask.report.layout import Line
from contrastmask.report.plots import plot, style, swept

SMOKE, PAPER = ({"name": name, "comparable": name == "paper"} for name in ("smoke", "paper"))


def rows(*labels: str, setting: str = "nonvoc2voc") -> list[Line]:
    return [{"variant": label, "setting": setting} for label in labels]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("sigma=0.1", "sigma=0.6"), ("sigma", [0.1, 0.6])),
        (("lr = 1e-3", "lr=-2"), ("lr", [0.001, -2.0])),
        (("sigma=0.1", "tau=0.6"), None),
        (("sigma=0.1", "Baseline"), None),
        (("sigma=a", "sigma=b"), None),
        (("sigma=0.1",), None),
        ((), None),
    ],
)
def test_swept(labels: tuple[str, ...], expected: tuple[str, list[float]] | None):
    assert swept(rows(*labels)) == expected


def test_two_settings_are_no_curve():
    assert swept(rows("a=1", "a=2") + rows("a=1", "a=2", setting="voc2nonvoc")) is None


def test_a_plot_is_the_same_twice_and_carries_the_scale_where_it_must_not_be_compared():
    drawn = {}
    for scale in (SMOKE, PAPER, SMOKE):
        with style():
            figure = Figure()
            figure.subplots().plot([1, 2], [1, 2], marker="o")
            found = plot(figure, scale, "a", "A", "", "alt")
        kind, _, content = found.source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert drawn.setdefault(scale["name"], base64.b64decode(content)) == base64.b64decode(content)
    assert b"smoke scale" in drawn["smoke"] and b"scale" not in drawn["paper"].split(b"<defs")[-1]
