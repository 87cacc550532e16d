"""The page made from a made-up results folder: what is in it, and that no text breaks out of its place."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from report.html_page import Page
from report.made_up_page import HOSTILE, MISSING, make_up, write

from contrastmask.cli.results import report as command
from contrastmask.config import Settings, load_table, load_tables
from contrastmask.report.claims import Claim, Effect
from contrastmask.report.page import embedded, missing, shown_tables
from contrastmask.report.plan import Planned
from contrastmask.report.run_files import RunFiles


def test_links_lead_somewhere_and_ids_are_unique(smoke_html: str):
    page = Page(smoke_html)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids) and f"run-{MISSING}" in inside
    assert len(page.ids) == len(set(page.ids))


def test_it_needs_no_other_file(smoke_html: str):
    page = Page(smoke_html)
    assert all(source.startswith("data:") for source in page.sources)
    assert page.tags.count("link") == 1 and 'rel="icon" href="data:,"' in smoke_html
    assert not re.search(r"@import|url\((?!#|\"data:)", smoke_html) and page.tags.count("script") == 1


def test_a_hostile_category_name_is_only_text(smoke_html: str):
    page = Page(smoke_html)
    assert "<script>alert" not in smoke_html and "<img src=x" not in smoke_html
    assert HOSTILE in page.text


def test_every_cell_says_how_it_agrees_and_leads_to_its_run(paper_html: str):
    cells = re.findall(r'<td class="cell (\w+).*?</td>', paper_html, re.S)
    assert len(cells) == (3 + 3) * 6 and set(cells) == {"same", "higher", "lower", "missing"}
    table2 = paper_html[paper_html.index('<section id="table2"') : paper_html.index('<section id="table5"')]
    main = re.findall(r'<td class="cell (\w+)[^>]*><a href="#(run-[^"]+)">(.*?)</td>', table2, re.S)[-6]
    # 35.2 here, the mean of two seeds; the paper prints 35.1
    assert main[:2] == ("same", "run-contrastmask-paper_r50_1x_nonvoc2voc")
    assert "35.2" in main[2] and "±0.1" in main[2] and "35.1" in main[2] and "+0.1" in main[2] and "2 seeds" in main[2]
    assert "not comparable" not in table2 and "paper scale" not in pictures(paper_html)


def pictures(html: str) -> str:
    """The SVG of all plots."""
    sources = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    return "".join(base64.b64decode(source).decode() for source in sources)


def test_a_scale_that_is_not_comparable_says_so_and_compares_nothing(smoke_html: str):
    assert "Scale smoke: not comparable with the paper" in smoke_html
    table2 = smoke_html[smoke_html.index('<section id="table2"') : smoke_html.index('<section id="table5"')]
    assert not re.search(r'class="(diff|sign|verdict|cell (same|higher|lower))', table2)
    assert "Smoke scale" in table2 and '<td class="cell printed">35.1</td>' in table2
    assert table2.count('<a href="#run-') == 3 * 7  # six AP and IoU of each row
    assert len(re.findall(r"<figure", smoke_html)) > 10


def test_what_is_recorded_of_a_run(smoke_html: str):
    start = smoke_html.index('id="run-contrastmask-paper_r50_1x_nonvoc2voc"')
    section = smoke_html[start : smoke_html.index('<details class="run"', start)]
    for word in (
        "aaaaaaaaaaaa, with local changes",
        "b" * 16,
        "d" * 32,
        "e" * 64,
        "f" * 32,
        "Some CPU",
        "2 h, 4 iterations",
    ):
        assert word in section
    assert re.search(r"Configuration\W.{,40}[0-9a-f]{16}", section, re.DOTALL)
    assert 'href="http://127.0.0.1:5000/#/runs/ab12"' in section and "secret" not in smoke_html
    assert section.count("<img") == 2 and "table5: tau=0.7" in section


def test_what_is_missing_is_listed(smoke_html: str):
    section = smoke_html[smoke_html.index('<section id="missing"') : smoke_html.index('<section id="runs"')]
    assert section.count(f"#run-{MISSING}") == 2 and section.count("#run-") == 2 and "table5" in section
    assert "of which nothing was run: beyond, " in section and "snakemake" not in section  # it would run another scale


def test_what_was_measured_of_another_configuration_is_missing(tmp_path: Path):
    spec = load_table("table7", "paper").runs[0]
    plan = [Planned(spec, seed, state, (), None) for seed, state in enumerate(("done", "to do"))]
    seeds = {spec.id: [RunFiles(tmp_path / spec.id / f"seed{n}", metrics={"run": spec.id}) for n in (0, 1)]}
    ((found, state),) = missing(plan, seeds)
    assert found.seed == 1 and "another configuration" in state


def test_curves_over_the_swept_number(smoke_html: str):
    page = Page(smoke_html)
    assert "sweep-of-table5" in page.ids and "sweep-of-table2" not in page.ids


def test_nothing_at_all_is_a_page_too(tmp_path: Path):
    done = CliRunner().invoke(command, ["--results", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    html = Path(done.output.strip()).read_text(encoding="utf-8")
    assert re.search(r"0 of \d+ trainings", html) and Page(html).tags.count("img") == 0


# ---------------------------------------------------------------------------- claims, figures, damage


def claim(text: str, seeds: tuple[int, ...], by_ap: Effect, by_iou: Effect) -> Claim:
    return Claim(text, "Table 2", "novel", by_ap, by_iou, seeds, ())


@pytest.fixture(scope="module")
def busy_html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with three made-up claims, Figure 6, and a run whose train.json is damaged."""
    settings = make_up(tmp_path_factory.mktemp("busy"))
    few = Effect("a - b", -3.5, -4.5, -2.5, None, "contradicted")
    none = Effect("a - b", None, None, None, None, "not run")

    def claims(folder: Path, seeds: tuple[int, ...], preset: str, scale: dict[str, Any]) -> list[Claim]:
        assert (folder, seeds, preset, scale) == (settings.folder, (0, 1), "paper", settings.scale)
        best = Effect("a - b", 1.25, 0.5, 2.0, 2.8, "supported")
        return [claim(HOSTILE, (0, 1), best, few), claim("b", (0,), few, few), claim("c", (), none, none)]

    (settings.run_folder("mask-rcnn_r50_1x_nonvoc2voc_mask_rois-gt", 0) / "train.json").write_text("{")
    (settings.folder / "figures").mkdir()
    Image.new("RGB", (2400, 1200), "green").save(settings.folder / "figures" / "figure6.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contrastmask.report.page.claims", claims)
        return write(settings)


def test_damaged_files_are_named(busy_html: str):
    assert "train.json: " in busy_html and "unreadable" in busy_html


def test_a_damaged_figure_costs_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Image.new("RGB", (40, 20), "green").save(tmp_path / "figure7.png")
    (tmp_path / "figure6.png").write_bytes((tmp_path / "figure7.png").read_bytes()[:60])
    (tmp_path / "objects.png").touch()
    assert [*embedded(tmp_path)] == ["figure7"]
    assert "figure6.png cannot be read" in caplog.text and "objects.png cannot be read" in caplog.text


def test_figures_are_embedded_where_they_exist(busy_html: str, smoke_html: str):
    page = Page(busy_html)
    assert "figure6" in page.ids and "figure7" not in page.ids and 'id="figure6"' not in smoke_html
    assert [source[:23] for source in page.sources if "svg" not in source] == ["data:image/webp;base64,"]


def test_claims_stand_on_the_page(busy_html: str):
    section = busy_html[busy_html.index('<section id="claims"') : busy_html.index('<section id="categories"')]
    assert "<script>alert" not in section and "&lt;script&gt;" in section
    assert all(
        text in section for text in ("+1.2", "+0.5 to +2.0", "+2.8", "supported", "not run", "about this scale alone")
    )
    assert section.count("−4.5 to −2.5") == 3  # by IoU of the first claim, by both of the second
    assert section.count("contradicted (1 seed)") == 2 and "supported (1 seed)" not in section


def test_the_same_results_give_the_same_page(smoke_settings: Settings, smoke_html: str):
    assert write(smoke_settings) == smoke_html


def test_a_table_that_nobody_asked_for_is_shown_once_a_run_of_its_own_is_measured(
    smoke_settings: Settings, smoke_html: str
):
    settings, tables = smoke_settings, load_tables(smoke_settings)
    assert 'id="table4"' not in smoke_html and ", table4, " in smoke_html
    runs = {row.label: row.run.id for row in tables["table4"].rows if row.run}
    seeds = {runs["sigma=0.3"]: [RunFiles(Path("a/seed0"), metrics={"run": "a"})]}  # table2's too
    assert "table4" not in shown_tables(tables, settings.tables, seeds)
    seeds[runs["sigma=0.1"]] = [RunFiles(Path("a/seed0"), metrics={"run": "a"})]
    assert list(shown_tables(tables, settings.tables, seeds)) == ["table2", "table5", "table4"]
