"""What other modules give to the page, and what is missing."""

from pathlib import Path

import pytest
from report.page.made_up import HOSTILE, make_up, write

from contrastmask.config import load_tables
from contrastmask.report.claims import Claim, Effect
from contrastmask.report.page.build import shown_tables
from contrastmask.report.page.evidence import Evidence
from contrastmask.report.page.sections import Missing, missing_section


def claim(text: str, seeds: tuple[int, ...], by_ap: Effect, by_iou: Effect) -> Claim:
    effect = {name: getattr(by_ap, name) for name in ("pair", "ours", "low", "high", "paper", "verdict")}
    return Claim(text=text, where="Table 2", subset="novel", in_boxes=by_iou, seeds=seeds, missing=(), **effect)


def test_claims_of_the_module_stand_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, asked = make_up(tmp_path), []
    few = Effect("a - b", -3.5, -4.5, -2.5, None, "contradicted")
    none = Effect("a - b", None, None, None, None, "not run")

    def claims(folder: Path, seeds: tuple[int, ...], preset: str) -> list[Claim]:
        asked.append((folder, seeds, preset))
        return [
            claim(HOSTILE, (0, 1), Effect("a - b", 1.25, 0.5, 2.0, 2.8, "supported"), few),
            claim("b", (0,), few, few),
            claim("c", (), none, none),
        ]

    monkeypatch.setattr("contrastmask.report.page.sections.claims", claims)
    html = write(settings)
    section = html[html.index('<section id="claims"') : html.index('<section id="categories"')]
    assert asked == [(settings.folder, (0, 1), "paper")]
    assert "<script>alert" not in section and "&lt;script&gt;" in section
    assert all(
        text in section for text in ("+1.2", "+0.5 to +2.0", "+2.8", "supported", "not run", "about this scale alone")
    )
    assert section.count("−4.5 to −2.5") == 3  # by IoU of the first claim, by both of the second
    assert section.count("contradicted (1 seed)") == 2 and "supported (1 seed)" not in section


def test_missing_names_the_tables_that_need_a_run(tmp_path: Path):
    settings = make_up(tmp_path)
    tables = {name: table for name, table in load_tables(settings).items() if name in settings.tables}
    main = "contrastmask-paper_r50_1x_nonvoc2voc"
    seeds = {
        main: [Evidence(main, 0, metrics={"run": main}), Evidence(main, 1, train={"run": main}), Evidence(main, 2)]
    }
    assert missing_section(tables, seeds, {(main, 2): "3 h"}) == [
        Missing(main, 1, "trained, not evaluated", ("table2", "table5"), ""),
        Missing(main, 2, "not run", ("table2", "table5"), "3 h"),
    ]


def test_a_table_that_nobody_asked_for_is_shown_once_a_run_of_its_own_is_measured(tmp_path: Path):
    settings = make_up(tmp_path)
    tables = load_tables(settings)
    html = write(settings)
    assert 'id="table4"' not in html and "<code>snakemake table4</code>" in html
    shared = next(row.run.id for row in tables["table4"].rows if row.label == "sigma=0.3")
    own = next(row.run.id for row in tables["table4"].rows if row.label == "sigma=0.1")
    seeds = {run: [Evidence(run, 0, metrics={"run": run})] for run in (shared,)}
    assert "table4" in shown_tables(tables, settings.tables, seeds)[1]
    seeds[own] = [Evidence(own, 0, metrics={"run": own})]
    shown, unasked = shown_tables(tables, settings.tables, seeds)
    assert list(shown) == ["table2", "table5", "table4"] and "table4" not in unasked


def test_a_run_whose_detections_another_takes_is_needed_by_its_tables(tmp_path: Path):
    settings = make_up(tmp_path)
    tables = {"grabcut-sensitivity": load_tables(settings)["grabcut-sensitivity"]}
    detector = "mask-rcnn_r50_1x_nonvoc2voc"
    (found,) = missing_section(tables, {detector: [Evidence(detector, 0)]}, {})
    assert found.tables == ("grabcut-sensitivity",)
