"""Parts of the plots that are not drawing."""

import re

import pytest
from matplotlib.figure import Figure

from contrastmask.report.page.plots import Swept, swept
from contrastmask.report.page.svg import inline, style


def rows(*labels: str, setting: str = "nonvoc2voc") -> list[dict[str, str]]:
    return [{"variant": label, "setting": setting} for label in labels]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("sigma=0.1", "sigma=0.6"), Swept("sigma", (0.1, 0.6))),
        (("lr = 1e-3", "lr=-2"), Swept("lr", (0.001, -2.0))),
        (("sigma=0.1", "tau=0.6"), None),
        (("sigma=0.1", "Baseline"), None),
        (("sigma=a", "sigma=b"), None),
        (("sigma=0.1",), None),
        ((), None),
    ],
)
def test_swept(labels: tuple[str, ...], expected: Swept | None):
    assert swept(rows(*labels)) == expected


def test_two_settings_are_no_curve():
    assert swept(rows("a=1", "a=2") + rows("a=1", "a=2", setting="voc2nonvoc")) is None


def test_two_plots_on_a_page_share_no_id_and_no_reference():
    svgs = []
    for name in ("one", "two"):
        with style():
            figure = Figure()
            axes = figure.subplots()
            axes.plot([1, 2], [1, 2], marker="o")
            axes.set_xlabel("x")
            svgs.append(inline(figure, name, 'a "label" <b>'))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in svgs]
    used = [set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) for svg in svgs]
    assert ids == used and not ids[0] & ids[1] and ids[0]
    assert "&quot;label&quot; &lt;b&gt;" in svgs[0]
    assert "var(--ink)" in svgs[0] and "#010203" not in svgs[0]
